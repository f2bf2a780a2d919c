"""Where a thought or an action ends that may begin at a mark: the grammar of a reply's channels, without state.

Thoughts stand in [square brackets], actions in (round ones) or between *single asterisks*; wide brackets, 【so】 and
（so）, do as well. No such span is longer than SPAN_LIMIT, holds a blank line, or is part of a word. Links, bold text,
smileys, escaped marks, and brackets around numbers or a single letter are speech.
"""

import re
import unicodedata
from types import MappingProxyType
from typing import Literal

Channel = Literal["speech", "thought", "action"]

# Characters of a span, its marks among them. What isn't closed by then is speech.
SPAN_LIMIT = 600
# Marks in marks: more than this is no prose, and would cost a search for each.
MAX_NESTING = 4
MARK = re.compile(r"[\[(*（【]")
# As many characters before a mark say whether it begins something.
CONTEXT = 2

PAIRS = MappingProxyType({"[": "]", "(": ")", "（": "）", "【": "】"})
THOUGHTS = "[【"
_SMILEY = re.compile(r"[:;=][-'^]?\Z")
# A smiley's mouth inside brackets, where its eyes begin a word.
_MOUTH = r"(?<=\s[:;=])[()\[\]]|(?<=\s[:;=][-'^])[()\[\]]"
_BLANK = r"\n[^\S\n]*\n"
_ESCAPED = r"\\."
_NESTED = MappingProxyType(
    {
        opener: re.compile(
            rf"(?P<skip>{_ESCAPED})|(?P<blank>{_BLANK})|(?P<mouth>{_MOUTH})"
            rf"|(?P<open>{re.escape(opener)})|(?P<close>{re.escape(closer)})"
        )
        for opener, closer in PAIRS.items()
    }
)
_ASTERISKS = re.compile(rf"(?P<skip>{_ESCAPED})|(?P<blank>{_BLANK})|(?P<run>\*+)")
_RUN = re.compile(rf"\*{{1,{SPAN_LIMIT}}}")
_BEFORE_OPENER = re.compile(r"(?:\s[\"']?|[“‘«(\[])\Z")
_TARGET = re.compile(r"\((?:[^\s()]|\([^\s()]*\))*")


def read_mark(text: str, start: int, *, final: bool) -> tuple[Channel, int] | None:
    """What begins at the mark `text[start]`, and where that ends; None while it takes more text to tell.

    Speech is what the mark turns out to be when it marks nothing. An answer stays the same whatever follows; with
    `final` there always is one. Only CONTEXT characters before `start` matter.
    """
    read = _read_asterisks if text[start] == "*" else _read_brackets
    return read(text, start, final)


def is_wide(char: str) -> bool:
    """Whether it is of a script that is written without spaces."""
    return unicodedata.east_asian_width(char) in "WF"


def _read_brackets(text: str, start: int, final: bool) -> tuple[Channel, int] | None:
    if text[start] in "[(" and _is_attached(text, start):
        return "speech", start + 1
    depth = 0
    smiling = None
    for found in _NESTED[text[start]].finditer(text, start, start + SPAN_LIMIT):
        kind = found.lastgroup
        if kind == "mouth" and depth == 1 and found[0] == PAIRS[text[start]]:
            smiling = smiling or found.end()
        depth += (kind == "open") - (kind == "close")
        if kind == "blank" or depth > MAX_NESTING:
            break
        if depth == 0 and kind == "close":
            return _judge(text, start, found.end(), final)
    else:
        if not final and len(text) < start + SPAN_LIMIT:
            return None
    # Nothing else closes it: then a smiley's mouth does.
    return _judge(text, start, smiling, final) if smiling else ("speech", start + 1)


def _read_asterisks(text: str, start: int, final: bool) -> tuple[Channel, int] | None:
    run = _RUN.match(text, start)
    assert run is not None
    width = len(run[0])
    if run.end() == len(text) and width < SPAN_LIMIT and not final:
        return None
    following = text[run.end() : run.end() + 1]
    if not following or following.isspace() or _is_attached(text, start):
        return "speech", run.end()
    depth = 1
    last = start + SPAN_LIMIT
    for found in _ASTERISKS.finditer(text, run.end(), last):
        if found.lastgroup == "blank" or found.end() == last:
            return "speech", run.end()
        if found.end() == len(text) and not final:
            return None
        if found.lastgroup == "skip" or (len(found[0]) % 2 == 0 if width == 1 else len(found[0]) != width):
            continue
        depth += _direction(text, found)
        if depth == 0:
            return _judge(text, start, found.end(), final) if width == 1 else ("speech", found.end())
        if depth > MAX_NESTING:
            return "speech", run.end()
    return ("speech", run.end()) if final or len(text) >= last else None


def _direction(text: str, run: re.Match[str]) -> int:
    """1 where asterisks open, -1 where they close, 0 where they stand alone."""
    if text[run.end() : run.end() + 1].strip() and _BEFORE_OPENER.search(text, max(run.start() - 2, 0), run.start()):
        return 1
    return 0 if text[run.start() - 1].isspace() else -1


def _judge(text: str, start: int, end: int, final: bool) -> tuple[Channel, int] | None:
    """What the closed span is, by what is in it and what follows it."""
    inner = text[start + 1 : end - 1].strip()
    if not any(map(str.isalpha, inner)) or (len(inner) == 1 and inner.isascii()):
        return "speech", end
    if end == len(text) and not final:
        return None
    following = text[end : end + 1]
    if following.islower() and len(inner.split()) == 1:
        return "speech", end
    if text[start] == "[" and following == "(":
        target = _TARGET.match(text, end, end + SPAN_LIMIT)
        assert target is not None
        if target.end() == len(text) and target.end() < end + SPAN_LIMIT and not final:
            return None
        if text[target.end() : target.end() + 1] == ")":
            return "speech", target.end() + 1
    return ("thought" if text[start] in THOUGHTS else "action"), end


def _is_attached(text: str, start: int) -> bool:
    """Whether a mark belongs to what stands before it: a word, a backslash, a smiley's eyes."""
    before = text[max(start - CONTEXT, 0) : start]
    if not before:
        return False
    in_word = (before[-1].isalnum() and not is_wide(before[-1])) or before[-1] in "_\\"
    return in_word or _SMILEY.search(before) is not None
