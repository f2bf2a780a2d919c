"""Atomic-level fidelity: how a trait shows in each sentence, from 1 (none of it) to 5 (much of it).

Three numbers of replies whose sentences were scored (arXiv 2506.19352): ACC_atom, the share of sentences that show the
trait as it was meant; IC_atom, how alike the sentences of one reply are; RC_atom, how alike the replies to the same
questions are from one time to the next. What has no sentence that shows anything counts for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, pstdev
from typing import Literal

LEAST, MOST = 1, 5
# A sentence that says nothing of the trait.
SILENT = 9
Level = Literal["low", "neutral", "high"]
LEVELS: tuple[Level, ...] = ("low", "neutral", "high")
_THIRD = (MOST - LEAST) / len(LEVELS)

# Of each time, of each question, the scores of the reply's sentences.
Scores = Sequence[Sequence[Sequence[int]]]


@dataclass(frozen=True, slots=True)
class AtomicScore:
    """`accuracy` and `inner` from 0 to 1, `between` from -1 to 1; None where nothing could be measured."""

    accuracy: float | None
    inner: float | None
    between: float | None
    sentences: int


def find_level(score: float) -> Level:
    """The third of the scale that a score lies in."""
    return LEVELS[min(len(LEVELS) - 1, int((score - LEAST) / _THIRD))]


def score_atoms(scores: Scores, level: Level) -> AtomicScore:
    """The three numbers of all replies; means are taken of a reply first, then of a time, then of all."""
    spoken = [[[atom for atom in reply if LEAST <= atom <= MOST] for reply in replies] for replies in scores]
    return AtomicScore(
        _mean([_mean([_accuracy(reply, level) for reply in replies if reply]) for replies in spoken]),
        _mean([_mean([1 - pstdev(reply) / 2 for reply in replies if len(reply) > 1]) for replies in spoken]),
        _between([[atom for reply in replies for atom in reply] for replies in spoken]),
        sum(len(reply) for replies in spoken for reply in replies),
    )


def _accuracy(reply: Sequence[int], level: Level) -> float:
    return fmean(find_level(atom) == level for atom in reply)


def _between(times: Sequence[Sequence[int]]) -> float | None:
    """How little has to be moved, and how far, to make one time's scores another's; 1 is not at all."""
    from scipy.stats import wasserstein_distance  # takes a second to import

    pairs = combinations([time for time in times if time], 2)
    return _mean([1 - 2 * float(wasserstein_distance(one, other)) / (MOST - LEAST) for one, other in pairs])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
