"""Keys: what is looked for in a chat. Plain text, whole words, or a regular expression.

Regular expressions run in RE2, in time linear in the text, so that no key can hang a turn. It has no lookaround and no
backreferences: a key with one is `broken`, and what it would have found can't be known.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import re2

from characters.lore.javascript import parse_slashed, to_re2

# A pattern's length, its size in RE2's instructions, and its memory. A search costs at most size × text.
MAX_PATTERN_CHARS = 2000
MAX_PATTERN_SIZE = 3000
MAX_PATTERN_BYTES = 1 << 18
# What the keys of one book may cost together, in the same instructions (0.5 µs and 20 bytes each to compile): half a
# second, and 100 MB. A key that RE2 refuses, a small pattern and plain text come to as much as is said here.
MAX_BOOK_SIZE = 1_000_000
REFUSED_SIZE = 1000
PATTERN_SIZE = 50
PLAIN_SIZE = 4

# Where words have no spaces between them, or particles cling to them, a neighbour says nothing about a word's end:
# Thai, Lao, Myanmar, Khmer, Chinese, Japanese, Korean.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
WORD = re.compile(rf"[^\W{_UNSPACED}]")
WORDS = re.compile(rf"{WORD.pattern}+")


def fold(text: str) -> str:
    """`text` as keys that don't mind case are compared: composed and case-folded."""
    return compose(text.casefold())


def compose(text: str) -> str:
    """`text` in Unicode's composed form: an é is one character however it was typed."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


@dataclass(frozen=True, slots=True)
class Key:
    """Something to look for. `text` is as the book has it, `needle` as it is compared."""

    text: str
    needle: str
    case_sensitive: bool = False
    whole_words: bool = False
    # Letters alone, so that it is whole where it is one of a text's words.
    is_word: bool = False
    # A compiled RE2 pattern, whose package publishes no types, and its size in instructions.
    pattern: Any = None
    size: int = 0
    # Why RE2 can't run it.
    broken: str = ""


class Room:
    """What the keys of a book may still cost; a book has as many as anybody writes, and none that fills the memory."""

    def __init__(self, left: int = MAX_BOOK_SIZE) -> None:
        self.left = left

    def take(self, key: Key) -> None:
        """Pay for `key`, which is built."""
        if key.broken:
            self.left -= REFUSED_SIZE
        else:
            self.left -= max(PATTERN_SIZE, key.size) if key.pattern is not None else PLAIN_SIZE


def build_key(text: str, *, regex: bool | None, case_sensitive: bool = False, whole_words: bool = False) -> Key:
    """The key that `text` means. `regex`: whether it is a pattern; None: where it is spelled `/pattern/flags`.

    Such a spelling brings its own case in its flags. Whole words are asked of keys of one word alone, as in
    SillyTavern; several words are found wherever they stand.
    """
    slashed = parse_slashed(text) if regex is not False else None
    if slashed:
        return _build_pattern(text, *slashed)
    if regex:
        return _build_pattern(text, text, "" if case_sensitive else "i")
    needle = compose(text) if case_sensitive else fold(text)
    whole = whole_words and len(needle.split()) == 1
    return Key(text, needle, case_sensitive, whole, is_word=WORDS.fullmatch(needle) is not None)


def is_whole(needle: str, text: str, start: int) -> bool:
    """Whether `needle`, found in `text` at `start`, touches no other word's letters."""
    end = start + len(needle)
    return not (start and WORD.match(text, start - 1)) and not WORD.match(text, end)


def escape(text: str) -> str:
    """The pattern that matches `text` alone."""
    return str(re2.escape(text))


def _build_pattern(text: str, pattern: str, flags: str) -> Key:
    if len(pattern) > MAX_PATTERN_CHARS:
        return Key(text, text, broken=f"longer than {MAX_PATTERN_CHARS} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_BYTES
    try:
        compiled = re2.compile(compose(to_re2(pattern, flags)).encode("utf-8", "replace"), options)
    except re2.error as error:
        return Key(text, text, broken=_reason(error))
    if compiled.programsize > MAX_PATTERN_SIZE:
        return Key(text, text, broken="too large once it is compiled")
    return Key(text, text, pattern=compiled, size=compiled.programsize)


def _reason(error: Exception) -> str:
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
