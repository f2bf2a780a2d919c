"""A character with a world to it: a head of so many tokens, twelve places in its lorebook, lines that name two each."""

import random
from typing import Any

from characters.card import CardData, CharacterCard
from loadtest.workload import OPENERS, THINGS
from models.renderer import Renderer
from models.scene import Scene
from models.sections import build_head

PLACES = (
    "Amberley",
    "Birchfold",
    "Cold Ash",
    "Dunmoor",
    "Eastwick",
    "Fallowfield",
    "Grimsby",
    "Harrowgate",
    "Ilfracombe",
    "Jarrow",
    "Kettlewell",
    "Lornehead",
)
NAMED = 2
ENTRY_TOKENS = 140
NOTE = "Keep it short, and end on something that can be seen."
GREETING = "*The ferrywoman looks up from her rope.* You again. Where to, this time?"
FAMILY = "Of {} there is a story in the family, told every winter and never the same way twice."
LORE = "In {} they say of {} that it was here before the houses, and whoever asks is told another story."


def build_card(renderer: Renderer, head_tokens: int) -> CharacterCard:
    """The card without its book; the head of its prompts has `head_tokens`, or a sentence more."""

    def card(sentences: int) -> CharacterCard:
        told = (FAMILY.format(f"{THINGS[number % len(THINGS)]}, {number}") for number in range(sentences))
        description = " ".join(["{{char}} rows people across the river.", *told])
        return CharacterCard(data=CardData(name="Mirren", description=description, first_mes=GREETING))

    sentences = 0
    while len(renderer.render(build_head(renderer.encode, Scene(card(sentences))))) < head_tokens:
        sentences += 1
    return card(sentences)


def build_lore(renderer: Renderer) -> dict[str, str]:
    """What there is to know of each place, ENTRY_TOKENS of it."""
    lore = {}
    for place in PLACES:
        told = " ".join([f"{place}:", *(LORE.format(place, thing) for thing in THINGS)])
        lore[place] = renderer.decode(renderer.encode(told)[:ENTRY_TOKENS]).strip()
    return lore


def to_wire(card: CharacterCard, lore: dict[str, str]) -> dict[str, Any]:
    """The card with its book, to register: an entry fires when the newest message names its place."""
    entries = [
        {
            "keys": [place],
            "content": text,
            "extensions": {"scan_depth": 1},
            "enabled": True,
            "insertion_order": number,
            "position": "before_char",
            "use_regex": False,
        }
        for number, (place, text) in enumerate(lore.items())
    ]
    data = card.data
    book = {"entries": entries, "extensions": {}}
    return {"name": data.name, "description": data.description, "first_mes": data.first_mes, "character_book": book}


def draw_lines(rng: random.Random, turns: int) -> list[str]:
    """What the user says: each line names NAMED places, and a number that no cache has seen."""
    return [
        f"{rng.choice(OPENERS).format(' and '.join(rng.sample(PLACES, NAMED)))} ({rng.randrange(10**6)})"
        for _ in range(turns)
    ]
