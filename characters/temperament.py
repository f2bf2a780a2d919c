"""What a character's numbers mean, in words that a model can act on: the Big Five, and how far they are played up."""

from bisect import bisect_left
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _no_boolean(value: object) -> object:
    """JSON's true is no number, though Python's is 1."""
    if isinstance(value, bool):
        raise ValueError("a number, not true or false")
    return value


def _is_none(value: object) -> bool:
    return value is None


Score = Annotated[int, Field(ge=0, le=100), BeforeValidator(_no_boolean)]
Expressiveness = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_no_boolean)]

# What somebody with little of a trait is like, and somebody with much of it.
POLES = {
    "openness": ("conventional and wary of what is new", "curious and imaginative"),
    "conscientiousness": ("careless and impulsive", "orderly and dependable"),
    "extraversion": ("quiet and reserved", "outgoing and talkative"),
    "agreeableness": ("blunt and contrary", "kind and forgiving"),
    "neuroticism": ("calm and hard to upset", "anxious and easily upset"),
}

# Up to so far from the middle: as most people are, rather, very; beyond, extremely.
DISTANCES = (10, 25, 40)
DEGREES = ("rather", "very", "extremely")

# Up to so much expressiveness, and what it asks of whoever plays the part.
LEVELS = (0.2, 0.4, 0.6, 0.8)
DELIVERIES = (
    "to the point. Who they are shows in what they say and decide, not in how it is dressed up: no catch-phrases, "
    "no flourishes, no habit put on show.",
    "restrained. Plain sentences; a habit or a turn of phrase only where it comes by itself.",
    "natural. Some colour of their own, and no phrase or gesture that was used a moment ago.",
    "lively. Voice, habits and feelings show in most of what they say.",
    "played up. The full voice, strong feelings, large gestures; catch-phrases are welcome.",
)


class BigFive(BaseModel):
    """The five traits from 0 (none of it) to 100, those that are known. Immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    openness: Score | None = Field(None, exclude_if=_is_none)
    conscientiousness: Score | None = Field(None, exclude_if=_is_none)
    extraversion: Score | None = Field(None, exclude_if=_is_none)
    agreeableness: Score | None = Field(None, exclude_if=_is_none)
    neuroticism: Score | None = Field(None, exclude_if=_is_none)

    def words(self) -> str:
        """The traits that are known, in the order of POLES; empty when none is."""
        scores = ((trait, getattr(self, trait)) for trait in POLES)
        return "; ".join(_degree(score, *POLES[trait]) for trait, score in scores if score is not None)


def delivery(expressiveness: float) -> str:
    """How the part is to be played, from 0 (to the point) to 1 (played up).

    Models told who to be tend to overdo it until a trait is all that is left of the character: low values hold against
    that.
    """
    return DELIVERIES[bisect_left(LEVELS, expressiveness)]


def _degree(score: int, low: str, high: str) -> str:
    band = bisect_left(DISTANCES, abs(score - 50))
    return f"{DEGREES[band - 1]} {high if score > 50 else low}" if band else f"as {high} as most people"
