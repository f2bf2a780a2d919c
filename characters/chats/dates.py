"""When something was said, in the formats that SillyTavern and others have written over the years. Zones are UTC."""

import math
import re
from datetime import UTC, datetime

from characters.chats.chat import Json

# Seconds later than this, in the year 5138, are milliseconds.
LAST_SECOND = 10**11
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# 2024-9-28@01h02m36s, also with spaces and milliseconds
_COMPACT = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})\s*@\s*(\d{1,2})h\s*(\d{1,2})m\s*(\d{1,2})s(?:\s*(\d{1,3})ms)?")
# September 28, 2024 1:02am
_WORDS = re.compile(r"([A-Za-z]{3,9})\.? (\d{1,2}), (\d{4}),? (\d{1,2}):(\d{2})(?::(\d{2}))?\s*([AaPp][Mm])?")


def parse_date(value: Json) -> float | None:
    """Seconds since 1970; None for what is no time."""
    if isinstance(value, str):
        text = value.strip()[:64]
        if text.isascii() and text.isdigit() and len(text) <= 15:
            return parse_date(int(text))
        try:
            return _parse_text(text)
        except (ValueError, OverflowError):
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < LAST_SECOND * 1000:
        return None
    return value / 1000 if value > LAST_SECOND else float(value)


def _parse_text(text: str) -> float:
    """Raises ValueError."""
    if found := _COMPACT.fullmatch(text):
        year, month, day, hour, minute, second, ms = (int(part or 0) for part in found.groups())
        return _seconds(datetime(year, month, day, hour, minute, second, ms * 1000, UTC))
    if found := _WORDS.fullmatch(text):
        name, day_, year_, hour_, minute_, second_, half = found.groups()
        hours = int(hour_) % 12 + 12 * (half.lower() == "pm") if half else int(hour_)
        month = MONTHS.index(name[:3].lower()) + 1
        return _seconds(datetime(int(year_), month, int(day_), hours, int(minute_), int(second_ or 0), tzinfo=UTC))
    moment = datetime.fromisoformat(text)
    return _seconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _seconds(moment: datetime) -> float:
    seconds = moment.timestamp()
    if seconds <= 0 or not math.isfinite(seconds):
        raise ValueError("before 1970")
    return seconds


def write_date(seconds: float) -> str:
    """As SillyTavern writes it now: 2024-09-28T01:02:36.000Z."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
