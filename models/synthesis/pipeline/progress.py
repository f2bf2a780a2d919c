"""A run as somebody watches it: rows, tokens a second, time left, drops by reason."""

import threading
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models.synthesis.pipeline.ledger import Ledger

EVERY_S = 0.5


class ProgressBar:
    """Shows a ledger as it fills, on a terminal; elsewhere nothing."""

    def __init__(self, ledger: Ledger, console: Console, title: str) -> None:
        self._ledger = ledger
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[drops]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task(title, total=ledger.total, completed=ledger.done, speed="", drops="")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._progress.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._show()
        self._progress.stop()

    def _watch(self) -> None:
        while not self._stopped.wait(EVERY_S):
            self._show()

    def _show(self) -> None:
        ledger = self._ledger
        self._progress.update(
            self._bar,
            completed=ledger.done,
            speed=f"{ledger.tokens_per_s:.0f} tokens/s",
            drops=tell_counts(Counter(ledger.dropped)),
        )


def tell_counts(counts: Counter[str]) -> str:
    """`3 too_long, 1 refused`: most first."""
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
