"""A card that somebody else wrote, as the grammar's teacher plays it: what it knows, and in which voice it speaks."""

import re
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

from characters.card import CharacterCard

from models.synthesis.character import Character
from models.synthesis.imagination import Imagination
from models.synthesis.interview import FIELDS
from models.synthesis.names import NameForge
from models.synthesis.smalltalk import build_dialogue
from models.synthesis.users import imagine_user
from models.synthesis.values import Value
from models.synthesis.voices import PLAIN, load_voices

# The frames that take any words whatever, by field.
_SHAPES = {"appearance": "loose", "general_experience": "loose", "personality": "loose", "goal": "loose"}
# Words that a value begins with by no right of their own: in a sentence they are written small.
_OPENER = re.compile(
    r"(an?|the|her|his|their|my|to|in|on|at|with|without|never|always|once|has|had|is|was|keeps|wants|hopes|tall|short|"
    r"small|thin|stout|old|young|quiet|calm|kind|shy|proud|warm|stern|gentle|patient|restless|curious|brave)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[a-z]{4,}")


def portray(card: CharacterCard, random: Random) -> Character:
    """The card with what can be asked of it, and a user who talks with it."""
    facts, user = imagine_user(Imagination(random, NameForge(random)))
    said = card.profile.model_dump() if card.profile else {}
    known = {field: said[field] for field in FIELDS if field != "speech_style" and said.get(field)}
    values = {field: _value(field, text) for field, text in {"name": card.name, **known}.items()}
    return Character(card, user, recognize_voice(card), values, facts, acts="*" in card.data.first_mes)


def recognize_voice(card: CharacterCard) -> str:
    """The voice that the card describes, else the one that its own lines are in, else the plain one."""
    style = _words(card.profile.speech_style if card.profile else "") or _words(card.data.personality)
    voices = {name: voice for name, voice in load_voices().items() if name != PLAIN}
    alike = {name: len(style & _words(" ".join(voice.lines["describe"]))) for name, voice in voices.items()}
    if any(alike.values()):
        return max(alike, key=lambda name: alike[name])
    spoken = " ".join([*card.greetings(), *(card.profile.quotes if card.profile else [])])
    heard = (name for name, voice in voices.items() if voice.marks and voice.marks.search(spoken))
    return next(heard, PLAIN)


def hold_talks(card: CharacterCard, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """`count` rows with one character, each with another user; number n of a seed is always the same."""
    for number in range(count):
        random = Random(f"{seed}/{number}")
        yield build_dialogue(replace(portray(card, random), lore={}), random)


def _value(field: str, text: str) -> Value:
    if field == "age" and text.isdigit():
        return Value(text, text, "digits")
    shape = "clause" if field == "secret" else _SHAPES.get(field, "")
    small = _OPENER.match(text)
    return Value(text, (text[0].lower() + text[1:] if small else text).rstrip("."), shape)


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))
