"""Drills: plain questions about a bare profile, and about what the user said, answered without any manner of speaking.
In half of them what the card says is words without sense, so that nothing but reading answers: words at random, long
lists, names whose syllables come back."""

import re
from dataclasses import replace
from functools import cache
from random import Random

from characters.card import build_card
from characters.profile import Profile

from models.synthesis.character import Character
from models.synthesis.conversation import Conversation
from models.synthesis.grammar import FOLDER, load_grammar
from models.synthesis.interview import FIELDS
from models.synthesis.names import NameForge
from models.synthesis.talk import Talk
from models.synthesis.traits import FREE_FIELDS
from models.synthesis.values import Value
from models.synthesis.voices import PLAIN

_SENSELESS = 0.5
_ASIDE = 0.3
_BABBLED = 0.25


def hold_drill(character: Character, random: Random) -> Conversation:
    """Every field of the card asked once, in any order, with things that the user tells and asks back in between."""
    talk = Talk(_strip(character, random), random)
    fields = [field for field in FIELDS if talk.conversation.speaker.knows(field)]
    told: list[str] = []
    for field in random.sample(fields, len(fields)):
        talk.interview.drill(field)
        kinds = [kind for kind, entry in load_grammar("facts").items() if isinstance(entry, dict)]
        untold = [kind for kind in kinds if kind not in character.facts and kind not in told]
        if untold and random.random() < _ASIDE:
            kind = random.choice(untold)
            told.append(kind)
            talk.memory.tell(kind)
        elif told and random.random() < _ASIDE:
            talk.memory.recall(random.choice(told))
    return talk.conversation


def _strip(character: Character, random: Random) -> Character:
    """The character with nothing but a profile, and that without a way of speaking."""
    values = dict(character.values)
    if random.random() < _SENSELESS:
        forge = NameForge(random)
        for field in ("name", "birth_place"):
            if field in values and random.random() < _BABBLED:
                text = _babble(random, forge)
                values[field] = Value(text, text)
        for field in FREE_FIELDS:
            if field in values and random.random() < 0.7:
                text = _mumble(random, forge)
                values[field] = Value(text, text, "loose" if values[field].shape == "noun" else values[field].shape)
    profile = Profile(**{field: value.card for field, value in values.items()})
    return replace(character, card=build_card(profile), voice=PLAIN, values=values, lore={}, acts=False)


def _mumble(random: Random, forge: NameForge) -> str:
    """Words that mean nothing together, of which one in three means nothing alone: a few of them, or a long list."""
    kind = random.random()
    if kind < 0.25:
        *items, last = (_item(random, forge) for _ in range(random.randint(5, 12)))
        return f"{', '.join(items)} and {last}"
    if kind < 0.4:
        return " ".join(forge.knot() for _ in range(random.randint(1, 4)))
    return " ".join(_item(random, forge) for _ in range(random.randint(2, 9)))


def _item(random: Random, forge: NameForge) -> str:
    if random.random() < 0.67:
        return random.choice(_vocabulary())
    return forge.babble() if random.random() < 0.3 else forge.word()


def _babble(random: Random, forge: NameForge) -> str:
    """A name or two that run in circles."""
    return " ".join(forge.babble().capitalize() for _ in range(random.choice((1, 1, 2))))


@cache
def _vocabulary() -> tuple[str, ...]:
    texts = (path.read_text() for path in sorted(FOLDER.glob("*.yaml")))
    return tuple(sorted({word for text in texts for word in re.findall(r"(?<!\{)\b[A-Za-z]{2,}\b(?!\})", text)}))
