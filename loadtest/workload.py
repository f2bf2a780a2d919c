"""Who arrives when, talks to whom, and says what: a plan drawn from a seed before anything is sent."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

OPENERS = (
    "Tell me about {}.",
    "What do you make of {}?",
    "I have been thinking about {} all day.",
    "Do you remember the first time you saw {}?",
    "Would you go with me to find {}?",
    "Somebody asked me about {}, and I had no answer.",
    "Be honest: are you afraid of {}?",
    "Where I come from, nobody speaks of {}.",
    "What would your friends say about {}?",
    "Let us forget {} for a while. How are you?",
)
THINGS = (
    "the harbour at night",
    "your oldest friend",
    "the long winter",
    "that letter",
    "the road to the mountains",
    "music",
    "the people upstairs",
    "rain on a tin roof",
    "your hands",
    "the last war",
    "a good meal",
    "the stars",
    "what we lost",
    "money",
    "the smell of smoke",
    "growing old",
)


@dataclass(frozen=True, slots=True)
class CharacterMix:
    """Characters with their shares of the sessions."""

    ids: Sequence[str]
    weights: Sequence[float]

    def draw(self, rng: random.Random) -> str:
        return rng.choices(self.ids, self.weights)[0]


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """One session: `lines` are its turns, `thinks_s[i]` the pause after the reply to turn i."""

    number: int
    arrival_s: float
    character: str
    lines: Sequence[str]
    thinks_s: Sequence[float]


def parse_mix(text: str) -> CharacterMix:
    """`lyra:3,tomas` is lyra three times as often as tomas. Raises ValueError, naming the part that is wrong."""
    ids, weights = [], []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, weight = part.partition(":")
        try:
            share = float(weight or 1)
        except ValueError:
            share = -1.0
        if not name or not share > 0:
            raise ValueError(f"{part!r} isn't a character, or character:weight with a weight above 0")
        ids.append(name)
        weights.append(share)
    if not ids:
        raise ValueError("name at least one character")
    return CharacterMix(ids, weights)


def build_plans(
    *, sessions: int, rate: float, turns: int, think_s: float, mix: CharacterMix, seed: int
) -> Sequence[SessionPlan]:
    """`sessions` arrivals of a Poisson process of `rate` a second; think times are exponential with mean `think_s`.

    The same seed gives the same plan, whatever it is sent to.
    """
    rng = seeded(seed)
    plans, arrival_s = [], 0.0
    for number in range(sessions):
        arrival_s += rng.expovariate(rate)
        thinks_s = [rng.expovariate(1 / think_s) if think_s > 0 else 0.0 for _ in range(turns)]
        plans.append(SessionPlan(number, arrival_s, mix.draw(rng), draw_lines(rng, turns), thinks_s))
    return plans


def seeded(seed: int) -> random.Random:
    """The generator that everything here draws from."""
    return random.Random(seed)  # noqa: S311 - a load that repeats, no secret


def draw_lines(rng: random.Random, turns: int) -> Sequence[str]:
    """What one user says in a session; the number makes each line one that no cache has seen."""
    return [f"{rng.choice(OPENERS).format(rng.choice(THINGS))} ({rng.randrange(10**6)})" for _ in range(turns)]
