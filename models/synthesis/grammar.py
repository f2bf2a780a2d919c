"""The grammar's files: YAML lists of lines, and how a line becomes text. Knows no characters."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "grammar"
_CHOICE = re.compile(r"\(([^()]*\|[^()]*)\)")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeio](?!ne\b|ne-|u[rcp])|u(?!ni|s))")
_SLOT = re.compile(r"(?<!\{)\{(\w+)\}(?!\})")


@cache
def load_grammar(name: str) -> dict[str, Any]:
    """One file of the grammar, as its YAML says. Shared: don't change it."""
    grammar: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return grammar


@cache
def split_lines(text: str) -> tuple[str, ...]:
    """The lines of a block, stripped, empty ones left out."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


@cache
def words(name: str) -> tuple[str, ...]:
    """A word list of words.yaml."""
    return split_items(load_grammar("words")[name])


@cache
def split_items(text: str) -> tuple[str, ...]:
    """The items of a list parted by semicolons."""
    return tuple(item.strip() for item in text.split(";") if item.strip())


def choose_branches(random: Random, text: str) -> str:
    """`text` with every `(a|b|)` replaced by one of its branches."""
    return _CHOICE.sub(lambda match: random.choice(match[1].split("|")), text)


def fill(text: str, value: Callable[[str], str]) -> str:
    """`text` with every `{slot}` replaced by `value(slot)`."""
    return _SLOT.sub(lambda match: value(match[1]), text)


def fill_known(text: str, values: Mapping[str, str]) -> str:
    """`text` with the slots that `values` knows replaced, the others left."""
    return _SLOT.sub(lambda match: values.get(match[1], match[0]), text)


def capitalize(text: str) -> str:
    """`text` with its first letter, after quotes or asterisks, as a capital."""
    match = re.search(r"[^\W\d_]", text)
    if match is None or match.start() > 2:
        return text
    return text[: match.start()] + match[0].upper() + text[match.end() :]


def with_article(noun: str) -> str:
    """`a noun` or `an noun`, by its first letter; plural and article-bearing nouns are the caller's care."""
    sounds_like_vowel = noun[:1].lower() in "aeiou" and not noun.lower().startswith(("eu", "uni", "one", "use"))
    return f"{'an' if sounds_like_vowel else 'a'} {noun}"


def fix_articles(text: str) -> str:
    """`text` with `a` before a vowel turned into `an`."""
    return _ARTICLE.sub(r"\1n ", text)
