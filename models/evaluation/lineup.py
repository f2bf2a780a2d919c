"""Who is speaking? Lines of characters whose names are taken out, each with four who might have said it.

PersonaEval's question (arXiv 2508.10014): a judge that can't tell who speaks can't tell how well they are played. The
lines are greetings and examples of the cards that ship; whose they are can be told from the cards alone.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from characters.card import CharacterCard

from models.evaluation.sentences import split_sentences
from models.examples import parse_examples

OPTIONS = 4
# Shorter ones could be anybody's.
LEAST_CHARACTERS = 60
MOST_CHARACTERS = 600
SOMEBODY = "—"


@dataclass(frozen=True, slots=True)
class Lineup:
    """A line, those who may have said it as name and description, and who did."""

    id: str
    line: str
    options: Mapping[str, str]
    speaker: str


def build_lineups(cards: Mapping[str, CharacterCard], seed: int) -> list[Lineup]:
    """A lineup for each line that the cards have, in an order of the seed's."""
    described = {card.name: describe(card) for card in cards.values()}
    lineups = []
    for name, card in cards.items():
        for number, line in enumerate(_lines(card)):
            random = Random(f"{seed}/{name}/{number}")
            others = random.sample([other for other in described if other != card.name], OPTIONS - 1)
            options = random.sample([card.name, *others], OPTIONS)
            masked = mask(line, list(described))
            if len(masked) >= LEAST_CHARACTERS:
                lineups.append(
                    Lineup(f"{name}/{number}", masked, {option: described[option] for option in options}, card.name)
                )
    return sorted(lineups, key=lambda lineup: Random(f"{seed}/{lineup.id}").random())


def describe(card: CharacterCard) -> str:
    """Who somebody is, in a line."""
    profile = card.profile
    told = [card.persona, *((profile.personality, profile.speech_style) if profile else ())]
    return "; ".join(text.strip().rstrip(".") for text in told if text.strip())


def mask(line: str, names: list[str]) -> str:
    """`line` without the sentences that name anybody whole, and with parts of names blotted out."""
    parts = {part for name in names for part in name.split() if len(part) > 2}
    blotted = re.compile(r"\b(" + "|".join(re.escape(part) for part in sorted(parts, key=len, reverse=True)) + r")\b")
    kept = [sentence for sentence in split_sentences(line) if not any(name in sentence for name in names)]
    return blotted.sub(SOMEBODY, " ".join(kept))[:MOST_CHARACTERS]


def _lines(card: CharacterCard) -> Iterator[str]:
    for greeting in card.greetings():
        yield card.expand(greeting)
    for example in parse_examples(card, "User"):
        yield from (card.expand(line.text) for line in example.lines if line.role == "assistant")
