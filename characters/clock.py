"""Times in words, as SillyTavern's macros have them: moment.js' formats and durations, in English."""

import re
from datetime import datetime, timedelta

_TOKEN = re.compile(r"\[([^\]]*)\]|YYYY|YY|M{1,4}|D{3,4}|DD|Do|D|d{1,4}|HH?|hh?|mm?|ss?|A|a|LTS|LT|LL|L")


def format_time(moment: datetime, pattern: str) -> str:
    """`moment` by a pattern of moment.js': `YYYY-MM-DD`, `dddd`, `[literal]`; letters it doesn't know stay."""
    values = {
        "YYYY": f"{moment.year:04}",
        "YY": f"{moment.year % 100:02}",
        "MMMM": moment.strftime("%B"),
        "MMM": moment.strftime("%b"),
        "MM": f"{moment.month:02}",
        "M": str(moment.month),
        "DDDD": f"{moment.timetuple().tm_yday:03}",
        "DDD": str(moment.timetuple().tm_yday),
        "DD": f"{moment.day:02}",
        "Do": _ordinal(moment.day),
        "D": str(moment.day),
        "dddd": moment.strftime("%A"),
        "ddd": moment.strftime("%a"),
        "dd": moment.strftime("%a")[:2],
        "d": str(moment.isoweekday() % 7),
        "HH": f"{moment.hour:02}",
        "H": str(moment.hour),
        "hh": f"{_twelve(moment.hour):02}",
        "h": str(_twelve(moment.hour)),
        "mm": f"{moment.minute:02}",
        "m": str(moment.minute),
        "ss": f"{moment.second:02}",
        "s": str(moment.second),
        "A": "AM" if moment.hour < 12 else "PM",
        "a": "am" if moment.hour < 12 else "pm",
    }
    values |= {
        "LT": f"{values['h']}:{values['mm']} {values['A']}",
        "LTS": f"{values['h']}:{values['mm']}:{values['ss']} {values['A']}",
        "L": f"{values['MM']}/{values['DD']}/{values['YYYY']}",
        "LL": f"{values['MMMM']} {values['D']}, {values['YYYY']}",
    }
    return _TOKEN.sub(lambda match: match[1] if match[1] is not None else values.get(match[0], match[0]), pattern)


def humanize(duration: timedelta) -> str:
    """A duration in moment.js' words, without its sign: `a few seconds`, `an hour`, `3 days`."""
    seconds = abs(duration.total_seconds())
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    for limit, value, one, many in (
        (45, seconds, "a few seconds", "a few seconds"),
        (45 * 60, minutes, "a minute", "{} minutes"),
        (22 * 3600, hours, "an hour", "{} hours"),
        (26 * 86400, days, "a day", "{} days"),
        (320 * 86400, days / 30.44, "a month", "{} months"),
    ):
        if seconds < limit:
            count = round(value)
            return one if count <= 1 else many.format(count)
    years = round(days / 365.25)
    return "a year" if years <= 1 else f"{years} years"


def parse_time(text: str) -> datetime | None:
    """The time that `text` says in ISO 8601, without its zone; None for anything else."""
    try:
        return datetime.fromisoformat(text.strip()).replace(tzinfo=None)
    except ValueError:
        return None


def _twelve(hour: int) -> int:
    return hour % 12 or 12


def _ordinal(day: int) -> str:
    suffix = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{suffix}"
