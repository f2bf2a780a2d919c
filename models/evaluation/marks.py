"""Verdicts on single replies: is the fact there, is anything there that must not be. Pure functions over text."""

import re
import unicodedata
from collections.abc import Sequence

from models.synthesis.values import Value

# Fields whose first words are the whole answer: a name, a number, a place.
EXACT_FIELDS = frozenset({"name", "age", "birth_place", "race", "friend"})
_ENOUGH = 0.8
_MARKUP = re.compile(
    r"<\||\|>|(start|end)_header|eot_id|begin_of_text|\{\{|\}\}|\ufffd|^#+ |</?s>|<START>|"
    r"^\s*(assistant|system|user)\s*(:|$)",
    re.IGNORECASE | re.MULTILINE,
)
_SMALL_WORDS = frozenset(
    re.findall(r"\w+", "a an and as at by for from has have i in is it me my of on or so that the to was who with")
)


def normalize(text: str) -> str:
    """`text` in small letters, with single spaces and straight apostrophes."""
    return " ".join(unicodedata.normalize("NFKC", text).replace("’", "'").lower().split())


def leaks_markup(reply: str) -> bool:
    """Whether template markup, a role's name or a heading of the prompt shows in a reply."""
    return bool(_MARKUP.search(reply))


def recalls(field: str, value: Value, reply: str) -> bool:
    """Whether a reply gives what the card says: the very words of a short field, most words of a long one."""
    if field in EXACT_FIELDS:
        return contains_phrase(reply, value.short)
    return shares_words(value.spoken, reply)


def contains_phrase(reply: str, phrase: str) -> bool:
    """Whether the words of `phrase` stand in `reply`, next to each other."""
    return re.search(rf"(?<!\w){re.escape(normalize(phrase))}(?!\w)", normalize(reply)) is not None


def shares_words(wanted: str, reply: str) -> bool:
    """Whether `reply` has four fifths of the words that carry meaning in the first sentence of `wanted`."""
    sentence = re.split(r"\.\s", wanted)[0]
    words = [word for word in _words(sentence) if word not in _SMALL_WORDS] or _words(sentence)
    given = set(_words(reply))
    return sum(word in given for word in words) >= _ENOUGH * len(words)


def share(verdicts: Sequence[bool]) -> float:
    """How many are true, from 0 to 1; nothing measured is 0."""
    return sum(verdicts) / len(verdicts) if verdicts else 0.0


def _words(text: str) -> list[str]:
    return re.findall(r"\w+(?:['’]\w+)?", normalize(text))
