"""The score of active and passive constraints (APC, arXiv 2405.07726): one reply against each claim of a card.

A claim that what was asked is about must be borne out (active); one that it isn't about must not be contradicted
(passive). A reply's score is the sum over claims of P(irrelevant)(1 − P(contradicted)) + P(relevant) P(entailed).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from models.nli import Verdict


@dataclass(frozen=True, slots=True)
class ApcScore:
    """`total` as the paper adds it up, `mean` of a claim from 0 to 1, `gain` over a reply that says nothing."""

    total: float
    claims: int
    gain: float

    @property
    def mean(self) -> float:
        return self.total / self.claims if self.claims else 0.0


def satisfaction(verdict: Verdict, relevance: float | None = None) -> float:
    """How likely the claim's constraint is kept; `relevance` as another judge has it, by default the verdict's own."""
    relevant = verdict.relevance if relevance is None else relevance
    return (1.0 - relevant) * (1.0 - verdict.contradicted) + relevant * verdict.entailed


def score_apc(verdicts: Sequence[Verdict], relevances: Sequence[float] | None = None) -> ApcScore:
    """One reply against all claims of its card, in their order."""
    known = relevances if relevances is not None else [verdict.relevance for verdict in verdicts]
    kept = [satisfaction(verdict, relevance) for verdict, relevance in zip(verdicts, known, strict=True)]
    # Silence bears nothing out and contradicts nothing.
    silence = sum(1.0 - relevance for relevance in known)
    total = sum(kept)
    return ApcScore(total, len(kept), total - silence)
