"""How sure one can be of a mean: by drawing the same subjects again, many times over."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DRAWS = 10_000
LEVEL = 0.95
# Numbers of one block of draws: some tens of megabytes.
BLOCK = 4_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `of` subjects, its population standard deviation, and a 95 % bootstrap interval of the mean."""

    mean: float
    std: float
    low: float
    high: float
    of: int

    @property
    def is_clear(self) -> bool:
        """Whether 0 lies outside of the interval."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.std:.2f}) [{self.low:.2f}, {self.high:.2f}]"


def estimate(values: Sequence[float], seed: int = 1) -> Estimate:
    """The mean of one value a subject. At least one value is needed."""
    drawn = np.asarray(values, dtype=np.float64)
    low, high = np.quantile(_draw_means(drawn, seed), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(drawn.mean()), float(drawn.std()), float(low), float(high), len(drawn))


def estimate_gain(ours: Sequence[float], theirs: Sequence[float], seed: int = 1) -> Estimate:
    """By how much `ours` is more than `theirs`, of the same subjects in the same order: each is drawn as a pair."""
    return estimate([one - other for one, other in zip(ours, theirs, strict=True)], seed)


def _draw_means(values: npt.NDArray[np.float64], seed: int) -> npt.NDArray[np.float64]:
    random = np.random.default_rng(seed)
    rows = max(1, BLOCK // len(values))
    blocks = [min(rows, DRAWS - start) for start in range(0, DRAWS, rows)]
    return np.concatenate(
        [values[random.integers(0, len(values), (size, len(values)))].mean(axis=1) for size in blocks]
    )
