"""Values as a lorebook should have them, from what people's files hold, with a warning for each that had to change.

Knows JSON types, and nothing of what the fields mean.
"""

import math
from collections.abc import Iterable
from typing import Any

from characters.formats.limits import MAX_WARNINGS

# Untrusted JSON: whatever a file holds.
Json = Any

TRUE = frozenset({"true", "yes", "on", "1"})
FALSE = frozenset({"false", "no", "off", "0"})
# As many entries are named in a warning.
NAMED = 5


class Coercion:
    """Coerces values and collects what it had to change. One for each file that is read."""

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = {}

    def warn(self, message: str, place: str = "") -> None:
        """Note `message`; the same one at several places becomes one warning."""
        self._places.setdefault(message, []).append(place)

    @property
    def warnings(self) -> list[str]:
        """One line for each kind of change, with the places where it was made."""
        return [_join(message, [place for place in places if place]) for message, places in self._places.items()]

    def text(self, value: Json, default: str | None, what: str, place: str = "") -> str | None:
        """A string; numbers and booleans are written out, lists of strings are joined by line breaks."""
        if isinstance(value, str):
            return value
        if value is None:
            if default is not None:
                self.warn(f"{what} was null", place)
            return default
        if isinstance(value, bool | int | float):
            self.warn(f"{what} was a {_kind(value)}, read as text", place)
            return str(value)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            self.warn(f"{what} was a list, joined", place)
            return "\n".join(value)
        self.warn(f"{what} was a {_kind(value)} where text belongs, and was left out", place)
        return default

    def flag(self, value: Json, default: bool | None, what: str, place: str = "") -> bool | None:
        """A boolean; 0, 1 and words such as "true" are read as one."""
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if isinstance(value, str | int | float) and word in TRUE | FALSE:
            self.warn(f"{what} was a {_kind(value)}, read as true or false", place)
            return word in TRUE
        if value is not None or default is not None:
            self.warn(f"{what} was a {_kind(value)} where true or false belongs, and was left out", place)
        return default

    def number(self, value: Json, default: float | None, what: str, place: str = "") -> int | float | None:
        """A finite number, an int where the file has one; digits in a string are read as one."""
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(_real(value)):
            return value
        if isinstance(value, str) and (read := _parsed(value)) is not None:
            self.warn(f"{what} was text, read as a number", place)
            return read
        if value is not None or default is not None:
            self.warn(f"{what} was a {_kind(value)} where a number belongs, and was left out", place)
        return default

    def texts(self, value: Json, default: list[str] | None, what: str, place: str = "") -> list[str] | None:
        """A list of strings; one string is split at its commas, and what is no text is left out."""
        if isinstance(value, str):
            self.warn(f"{what} was one text, split at its commas", place)
            return [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list):
            if value is not None or default is not None:
                self.warn(f"{what} was a {_kind(value)} where a list belongs, and was left out", place)
            return default
        if all(isinstance(item, str) for item in value):
            return value
        self.warn(f"{what} held something other than text", place)
        return [str(item) for item in value if isinstance(item, str | int | float) and not isinstance(item, bool)]

    def mapping(self, value: Json, default: dict[str, Json], what: str, place: str = "") -> dict[str, Json]:
        """An object. PHP writes an empty one as an empty list."""
        if isinstance(value, dict):
            return value
        if value != []:
            self.warn(f"{what} was a {_kind(value)} where an object belongs, and was left out", place)
        return default


def first_warnings(warnings: Iterable[str]) -> list[str]:
    """Each warning once, and as many as anybody reads."""
    once = list(dict.fromkeys(warnings))
    more = [f"and {len(once) - MAX_WARNINGS} more"] if len(once) > MAX_WARNINGS else []
    return once[:MAX_WARNINGS] + more


def _join(message: str, places: list[str]) -> str:
    if not places:
        return message
    more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
    return f"{', '.join(places[:NAMED])}{more}: {message}"


def _kind(value: Json) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "text", list: "list", dict: "object"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _real(value: float) -> float:
    """`value` as a float; infinite when it is an int too long for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _parsed(text: str) -> int | float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else value
