"""Which memories a message brings back: those close to it in meaning and in mood, and the recent ones before the old.

Meaning, emotion and time are weighed as in Emotional RAG (arXiv 2410.23041, meaning and mood are added) and LD-Agent
(arXiv 2406.05925, what is old fades exponentially, what isn't close enough in meaning doesn't come back at all).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.embedding import Vectors
from models.memory.mood import Moods

Scores = NDArray[np.float32]

# Of what vectors leave open, what words can add: they find names.
WORDS_SHARE = 0.3
# What a memory has ahead in which somebody tells of themself, when they ask for something of their own: the dogs of
# others must not hide one's own.
OWN = 0.1
# What a memory loses for being like one that is told already: ten people who fear nothing must not hide the one who
# fears lifts (maximal marginal relevance, Carbonell and Goldstein 1998).
VARIETY = 0.35
# Memories closer than this say the same.
SAME = 0.95
LOOKED_AT = 64


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much. `least_meaning` is what a memory must have of it to come back at all."""

    meaning: float = 1.0
    mood: float = 0.02
    recency: float = 0.02
    half_life_s: float = 7 * 86400.0
    least_meaning: float = 0.15


@dataclass(frozen=True, slots=True)
class Aspects:
    """The vectors of memories, a row each: those of a memory from its start on, first that of its whole text."""

    rows: Vectors
    starts: NDArray[np.intp]

    @property
    def texts(self) -> Vectors:
        """A row for each memory."""
        return self.rows[self.starts]

    def likeness(self, question: Vectors) -> Scores:
        """How like a question each memory is; nan for one without vectors."""
        found = self.rows @ question
        likeness: Scores = (found[self.starts] + np.maximum.reduceat(found, self.starts)) / 2
        return likeness


def build_aspects(vectors: Sequence[Vectors]) -> Aspects:
    """The rows of memories, of which each has at least one."""
    ends = np.cumsum([len(rows) for rows in vectors])
    return Aspects(np.concatenate(vectors).astype(np.float32), np.concatenate([[0], ends[:-1]]).astype(np.intp))


def blend(likeness: Scores | None, words: Scores) -> Scores:
    """Meaning from 0 to 1: of vectors' `likeness` and of words; of words alone where there is no vector (nan)."""
    if likeness is None:
        return words
    both = 1 - (1 - np.maximum(likeness, 0)) * (1 - WORDS_SHARE * words)
    meaning: Scores = np.where(np.isnan(likeness), words, both).astype(np.float32)
    return meaning


def rank(
    meaning: Scores,
    mood: Moods,
    moods: Moods,
    ages_s: Scores,
    weights: Weights,
    *,
    own: NDArray[np.bool_] | None = None,
) -> Scores:
    """A score for each memory; minus infinity for those that mean something else. A mood of zeros counts for none.

    `own` are those that answer to who asks for something of their own; None where nobody does.
    """
    recency = np.exp2(-np.maximum(ages_s, 0) / weights.half_life_s)
    nearer = meaning if own is None else meaning + OWN * own
    scores = weights.meaning * nearer + weights.mood * (moods @ mood) + weights.recency * recency
    ranked: Scores = np.where(meaning >= weights.least_meaning, scores, -np.inf).astype(np.float32)
    return ranked


def best(
    scores: Scores, vectors: Vectors | None, words: Sequence[frozenset[str]], *, looked_at: int = LOOKED_AT
) -> Iterator[int]:
    """The memories from the best one on, each as unlike those before as it is good; none says what another has said.

    Likeness is that of `vectors`, rows of nan for those that have none; without any, of `words`. Only the
    `looked_at` best are looked at.
    """
    found = np.argsort(-scores, kind="stable")[:looked_at]
    left = scores[found]
    rows = None if vectors is None else np.nan_to_num(vectors[found])
    likest = np.zeros_like(left)
    while len(left):
        chosen = int(np.argmax(left - VARIETY * likest))
        if left[chosen] == -np.inf:
            return
        yield int(found[chosen])
        alike = rows @ rows[chosen] if rows is not None else _overlap(words, found, words[found[chosen]])
        likest = np.maximum(likest, alike)
        left[likest >= SAME] = -np.inf
        left[chosen] = -np.inf


def _overlap(words: Sequence[frozenset[str]], found: NDArray[np.intp], one: frozenset[str]) -> Scores:
    shares = (len(words[index] & one) / (len(words[index] | one) or 1) for index in found)
    return np.fromiter(shares, np.float32, len(found))
