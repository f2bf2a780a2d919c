"""Cutting a turn off while it streams: from within the server, as a client that goes cuts it off from without."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interruption:
    """Cancels the task that streams a turn, while it does, and tells that from the cancellations of others."""

    def __init__(self) -> None:
        # Who streams it, while it does; how often others had cancelled that task, and whether `cut_off` has.
        self._task: asyncio.Task[Any] | None = None
        self._others = 0
        self._cut_off = False

    def cut_off(self) -> None:
        """Cancel what streams now. Done twice, it is done once."""
        if self._task is not None:
            self._cut_off = True
            self._task.cancel()
            self._task = None

    def was_caught(self) -> bool:
        """Whether a cancellation that was caught is of `cut_off`, and nobody else's: as `asyncio.timeout` tells them.

        It says so once.
        """
        task, cut_off = asyncio.current_task(), self._cut_off
        self._cut_off = False
        return cut_off and task is not None and task.uncancel() <= self._others

    @contextmanager
    def reaches_here(self) -> Iterator[None]:
        """The body is what is cut off: the wait for the engine, and for a client that reads slowly."""
        self._task = asyncio.current_task()
        self._others = self._task.cancelling() if self._task else 0
        try:
            yield
        finally:
            self._task = None
