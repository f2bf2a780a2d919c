"""Macros in card text: `{{char}}`, `{{user}}` and the rest, in one pass, never by a template engine.

Character Card V3's and SillyTavern's core set. What a macro expands to is not read again, so a user named `{{char}}`
stays `{{char}}`; a macro inside another is the same author's, and is read. Unknown macros are left as they are. Names
are matched without regard to case, as the card specifications ask.

Macros that say something else each time (`random`, `roll`, `time`, …) are left as they are until `expand` is given a
seed or a time. Whoever gives one keeps what comes out, and doesn't ask again.
"""

import re
from collections.abc import Mapping

from characters.calls import CALLS, TRIM, Arguments, Context, Source, Written
from characters.variables import VARIABLE_CALLS

# Macros deeper inside others than this are left as they are.
MAX_DEPTH = 16
# So many macros of one text are replaced, and so many characters may they write together; the rest stays as it is.
MAX_MACROS = 10_000
MAX_WRITTEN = 1 << 22

ALL_CALLS = CALLS | VARIABLE_CALLS

_TOKEN = re.compile(r"\{\{(?!\{)|\}\}|<(USER|BOT|CHAR|GROUP|CHARIFNOTGROUP)>", re.IGNORECASE)
_NAME = re.compile(r"\s*(//|[A-Za-z_]\w*)(\s*::?|\s+|)")
# Need nothing between name and argument: `{{//remark}}`, `{{time_UTC+2}}`.
CLINGING = frozenset({"//", "time_utc"})
_OLD = {"bot": "char"}
_VOLATILE = re.compile(
    r"\{\{\s*(?:random|roll|time\w*|date|weekday|iso(?:date|time)|datetimeformat|idle_duration|input|summary"
    r"|last\w+|current\w+|first\w+|outlet|\w+var)\b",
    re.IGNORECASE,
)


def expand(text: str, values: Mapping[str, str], context: Context | None = None) -> str:
    """`text` with its macros replaced: those named in `values` (keys in lower case), and those that `context` knows.

    Without a context, macros that need chance or a time are left as they are.
    """
    if "{{" not in text and "<" not in text:
        return text
    return _Expansion(text, values, context or Context()).run()


def is_volatile(text: str) -> bool:
    """Whether `text` has macros that say something else each time they are evaluated."""
    return "{{" in text and _VOLATILE.search(text) is not None


class _Expansion:
    """One text being expanded. What it writes is bounded, however a card repeats itself."""

    def __init__(self, text: str, values: Mapping[str, str], context: Context) -> None:
        self._text = text
        self._values = {**context.known, **values} if context.known else values
        self._context = context
        self._source = Source(text)
        self._macros = MAX_MACROS
        self._left = MAX_WRITTEN

    def run(self) -> str:
        # The pieces outside, then those inside each macro that is open.
        open_: list[list[str]] = [[]]
        read = 0
        for token in _TOKEN.finditer(self._text):
            open_[-1].append(self._text[read : token.start()])
            read = token.end()
            if token[1]:
                name = token[1].lower()
                open_[-1].append(self._write(self._values.get(_OLD.get(name, name)), token[0]))
            elif token[0] == "{{" and len(open_) <= MAX_DEPTH:
                open_.append([])
            elif token[0] == "}}" and len(open_) > 1:
                inside = open_.pop()
                open_[-1].append(self._write(self._call(inside, read), f"{{{{{''.join(inside)}}}}}"))
            else:
                open_[-1].append(token[0])
        open_[-1].append(self._text[read:])
        pieces = open_[0]
        for unclosed in open_[1:]:
            pieces += ["{{", *unclosed]
        return _join(pieces)

    def _write(self, value: str | None, source: str) -> str:
        """What stands for a macro: `value`, or its source where there is none or too much was written."""
        if value is None or len(value) > self._left:
            return Written(source)
        self._left -= len(value)
        return value if value is TRIM else Written(value)

    def _call(self, inside: list[str], offset: int) -> str | None:
        """What the macro with these pieces between its braces becomes."""
        self._macros -= 1
        if self._macros < 0:
            return None
        match = None if isinstance(inside[0], Written) else _NAME.match(inside[0])
        if not match:
            return None
        name, separator, rest = match[1].lower(), match[2], inside[0][match.end() :]
        parts = [part for part in (rest, *inside[1:]) if part]
        if not parts and ":" not in separator and name in self._values:
            return self._values[name]
        call = ALL_CALLS.get(name)
        if call is None or (parts and not separator and name not in CLINGING):
            return None
        return call(self._context, Arguments(parts, self._source, offset))


def _join(pieces: list[str]) -> str:
    """The pieces in a row, without the line breaks beside a `{{trim}}`."""
    kept: list[str] = []
    trimming = False
    for piece in pieces:
        if piece is TRIM:
            trimming = True
            while kept and not kept[-1].rstrip("\n"):
                kept.pop()
            kept[-1:] = [last.rstrip("\n") for last in kept[-1:]]
        elif rest := piece.lstrip("\n") if trimming else piece:
            trimming = False
            kept.append(rest)
    return "".join(kept)
