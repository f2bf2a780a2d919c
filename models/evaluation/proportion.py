"""A share of trials with how sure one can be of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

# 95 %, on both sides.
Z = 1.959964


@dataclass(frozen=True, slots=True)
class Proportion:
    """`hits` of `of` trials. Nothing tried is a share of 0, and anything is possible."""

    hits: int
    of: int

    @property
    def share(self) -> float:
        return self.hits / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval, which is honest near 0 and 1 and for few trials."""
        if not self.of:
            return 0.0, 1.0
        n, share = self.of, self.share
        middle = share + Z * Z / (2 * n)
        reach = Z * sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
        scale = 1 + Z * Z / n
        return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.1%} [{low:.1%}, {high:.1%}] of {self.of}"

    def to_json(self) -> dict[str, Any]:
        """As it is written down."""
        return {"share": self.share, "interval": list(self.interval), "of": self.of}


def proportion(verdicts: Sequence[bool]) -> Proportion:
    """How many are true."""
    return Proportion(sum(verdicts), len(verdicts))
