"""Macros that take arguments or depend on the moment: what each one becomes.

A function that returns None leaves the macro as it is: its arguments are wrong, or what it needs isn't known.
Sources: Character Card V3 ("Curly Braced Syntaxes"), SillyTavern (public/scripts/macros.js, variables.js).
"""

import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b

from characters.chance import rolls
from characters.clock import format_time, humanize, parse_time

MAX_DICE = 100
MAX_SIDES = 10**9

_DICE = re.compile(r"(?:(\d{0,4})d)?(\d{1,9})([+-]\d{1,9})?", re.IGNORECASE)
_COMMA = re.compile(r"(?<!\\),")
_COLONS = re.compile("::")
_OFFSET = re.compile(r"[+-]\d{1,2}")


class Written(str):
    """Text that a macro wrote: nothing in it is syntax."""

    __slots__ = ()


# Takes the line breaks around it away.
TRIM = Written("")


@dataclass(frozen=True, slots=True)
class Context:
    """What macros need beside names. What is None isn't known, and its macros are left as they are.

    `seed` decides `random` and `roll`, `chat` decides `pick`: the same seed, text and place give the same again.
    `variables` and `global_variables` are read and written.
    """

    seed: str | None = None
    chat: str | None = None
    now: datetime | None = None
    idle: timedelta | None = None
    variables: MutableMapping[str, str] = field(default_factory=dict)
    global_variables: MutableMapping[str, str] = field(default_factory=dict)
    outlets: Mapping[str, str] = field(default_factory=dict)
    # The names of those who talk with the user, where they are several.
    group: Sequence[str] = ()
    # Macros without arguments whose text is known at the moment: `lastmessage`, `model`, …; names in lower case.
    known: Mapping[str, str] = field(default_factory=dict)


class Source:
    """The text that is expanded, named by a digest for chance."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = ""

    def rolls(self, count: int, seed: str, offset: int) -> list[float]:
        if not self._digest:
            self._digest = blake2b(self._text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return rolls(count, seed, "macro", self._digest, str(offset))


@dataclass(frozen=True, slots=True)
class Arguments:
    """What stands behind a macro's name: source text, and text that inner macros wrote. `offset` is its place."""

    parts: Sequence[str]
    source: Source
    offset: int

    def text(self) -> str:
        return "".join(self.parts)

    def split(self, separator: re.Pattern[str], most: int = 0) -> list[str]:
        """The arguments between separators in the source text; at most `most` separators count, 0 counts all."""
        items = [""]
        for part in self.parts:
            if isinstance(part, Written):
                items[-1] += part
                continue
            first, *others = separator.split(part, max(0, most - len(items) + 1))
            items[-1] += first
            items += others
        return items

    def choices(self) -> list[str]:
        """Between `::` where there is one, else between commas; `\\,` is a comma."""
        if any("::" in part for part in self.parts if not isinstance(part, Written)):
            return self.split(_COLONS)
        return [item.strip().replace("\\,", ",") for item in self.split(_COMMA)]


Call = Callable[[Context, Arguments], str | None]


def _nothing(_: Context, __: Arguments) -> str:
    return ""


def _newline(_: Context, __: Arguments) -> str:
    return "\n"


def _trim(_: Context, __: Arguments) -> str:
    return TRIM


def _reverse(_: Context, arguments: Arguments) -> str:
    return arguments.text()[::-1]


def _choose(seed: str | None, arguments: Arguments) -> str | None:
    if seed is None or not arguments.parts:
        return None
    choices = arguments.choices()
    (drawn,) = arguments.source.rolls(1, seed, arguments.offset)
    return choices[int(drawn * len(choices))]


def _random(context: Context, arguments: Arguments) -> str | None:
    return _choose(context.seed, arguments)


def _pick(context: Context, arguments: Arguments) -> str | None:
    return _choose(context.chat, arguments)


def _roll(context: Context, arguments: Arguments) -> str | None:
    """`6`, `d6`, `2d6+1`: dice with so many sides."""
    match = _DICE.fullmatch(arguments.text().strip())
    if context.seed is None or not match:
        return None
    dice, sides = int(match[1] or 1), int(match[2])
    if not (0 < dice <= MAX_DICE and 0 < sides <= MAX_SIDES):
        return None
    rolled = arguments.source.rolls(dice, context.seed, arguments.offset)
    return str(sum(int(one * sides) + 1 for one in rolled) + int(match[3] or 0))


def _formatted(pattern: str) -> Call:
    def call(context: Context, _: Arguments) -> str | None:
        return format_time(context.now, pattern) if context.now else None

    return call


def _datetimeformat(context: Context, arguments: Arguments) -> str | None:
    return format_time(context.now, arguments.text().strip()) if context.now else None


def _time_utc(context: Context, arguments: Arguments) -> str | None:
    """`{{time_UTC+2}}`: the time in another zone; only a `now` that knows its own zone can tell."""
    offset = arguments.text().strip()
    if context.now is None or context.now.tzinfo is None or not _OFFSET.fullmatch(offset):
        return None
    utc = (context.now - (context.now.utcoffset() or timedelta())).replace(tzinfo=None)
    return format_time(utc + timedelta(hours=int(offset)), "LT")


def _timediff(_: Context, arguments: Arguments) -> str | None:
    times = [parse_time(item) for item in arguments.split(_COLONS)]
    if len(times) != 2 or times[0] is None or times[1] is None:
        return None
    return humanize(times[0] - times[1])


def _idle_duration(context: Context, _: Arguments) -> str | None:
    return humanize(context.idle) if context.idle is not None else None


def _outlet(context: Context, arguments: Arguments) -> str | None:
    return None if context.seed is None else context.outlets.get(arguments.text().strip(), "")


CALLS: dict[str, Call] = {
    "//": _nothing,
    "comment": _nothing,
    "hidden_key": _nothing,
    "noop": _nothing,
    "banned": _nothing,
    "bias": _nothing,
    "newline": _newline,
    "trim": _trim,
    "reverse": _reverse,
    "random": _random,
    "pick": _pick,
    "roll": _roll,
    "time": _formatted("LT"),
    "date": _formatted("LL"),
    "weekday": _formatted("dddd"),
    "isotime": _formatted("HH:mm"),
    "isodate": _formatted("YYYY-MM-DD"),
    "datetimeformat": _datetimeformat,
    "time_utc": _time_utc,
    "timediff": _timediff,
    "idle_duration": _idle_duration,
    "outlet": _outlet,
}
