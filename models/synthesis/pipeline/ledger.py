"""What has come of a run so far: outcomes counted, written down in batches, and the point at which it is no use."""

import time
from collections import Counter
from collections.abc import Sequence

from models.synthesis.pipeline.journal import Journal
from models.synthesis.pipeline.task import Outcome
from models.synthesis.teachers.teacher import TeacherDead

# Outcomes that are written together, and how long one waits for others: what a kill costs to do again.
BATCH, BATCH_S = 64, 1.0


class Ledger:
    """Counts of the whole output; `tokens`, `retried` and `failed` are of this run alone."""

    def __init__(self, journal: Journal, *, total: int | None, stop_after: int) -> None:
        self.total = total
        self.kept = journal.kept
        self.dropped = Counter(journal.dropped)
        self.retried: Counter[str] = Counter()
        self.failed: set[str] = set()
        self.tokens = 0
        self.began = time.monotonic()
        self._journal = journal
        self._stop_after = stop_after
        self._useless = 0
        self._waiting: list[Outcome] = []
        self._written = self.began

    @property
    def done(self) -> int:
        """Rows that are kept or dropped."""
        return self.kept + self.dropped.total()

    @property
    def tokens_per_s(self) -> float:
        """Tokens that the teacher has written, a second."""
        return self.tokens / max(1e-9, time.monotonic() - self.began)

    @property
    def is_due(self) -> bool:
        """Whether what waits is to be written now."""
        late = time.monotonic() - self._written > BATCH_S
        return len(self._waiting) >= BATCH or (late and bool(self._waiting))

    def is_done(self, task_id: str) -> bool:
        """Whether a run before this one has done it."""
        return task_id in self._journal.done

    def settle(self, outcome: Outcome, *, is_last: bool = False) -> None:
        """Count an outcome. One that failed is tried again later, unless this `is_last`; then it is dropped.

        Raises TeacherDead when the teacher is, or has been of no use so many times in a row.
        """
        self.tokens += outcome.tokens
        self.retried.update(outcome.retried)
        if outcome.kind == "dead":
            raise TeacherDead(outcome.sample)
        if outcome.kind == "failed" and not is_last:
            self.failed.add(outcome.id)
        else:
            self._waiting.append(outcome)
            if outcome.kind == "kept":
                self.kept += 1
            else:
                self.dropped[outcome.reason] += 1
        self._check_use(outcome)

    def take(self) -> Sequence[Outcome]:
        """What waits to be written."""
        taken, self._waiting = self._waiting, []
        self._written = time.monotonic()
        return taken

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Write what was taken. Blocks. Raises StorageFailed."""
        self._journal.append(outcomes)

    def _check_use(self, outcome: Outcome) -> None:
        if outcome.kind in ("garbage", "failed"):
            self._useless += 1
        elif outcome.kind == "kept" or outcome.tokens:
            self._useless = 0
        if self._useless >= self._stop_after:
            raise TeacherDead(
                f"the teacher was of no use {self._useless} times in a row, last: {outcome.reason} ({outcome.sample})"
            )
