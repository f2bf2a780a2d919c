"""Tasks through a teacher, as many at a time as keep it busy, in whatever order they end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import islice

from models.synthesis.pipeline.ledger import Ledger
from models.synthesis.pipeline.task import Outcome, Task

# Tasks that are read from the sources in one go, beside the event loop.
CHUNK = 64

Tasks = Callable[[], Iterable[Task]]
Do = Callable[[Task], Awaitable[Outcome]]


async def run(tasks: Tasks, do: Do, ledger: Ledger, *, window: int) -> None:
    """Do all tasks, `window` at a time, but for those done before. One that fails is tried once more at the end.

    Whatever ends the run, what was done by then is written. Raises Stop.
    """
    try:
        # One thread, which no cancelling reaches: a batch that was handed to it is written.
        with ThreadPoolExecutor(1, "journal") as thread:
            await _Pass(do, ledger, window, thread, is_last=False).go(iter(tasks()))
            if failed := frozenset(ledger.failed):
                ledger.failed.clear()
                again = (task for task in tasks() if task.id in failed)
                await _Pass(do, ledger, window, thread, is_last=True).go(again)
    finally:
        # Blocks, on purpose: nobody waits any more, and nothing may come in between.
        ledger.write(ledger.take())


class _Pass:
    """Once through the tasks."""

    def __init__(self, do: Do, ledger: Ledger, window: int, thread: Executor, *, is_last: bool) -> None:
        self._do = do
        self._thread = thread
        self._ledger = ledger
        self._window = window
        self._is_last = is_last
        self._queue = asyncio.Queue[Task | None](window)

    async def go(self, tasks: Iterator[Task]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._feed(tasks))
                for _ in range(self._window):
                    group.create_task(self._work())
        except BaseExceptionGroup as failures:
            raise _first(failures) from None

    async def _feed(self, tasks: Iterator[Task]) -> None:
        while chunk := await asyncio.to_thread(lambda: list(islice(tasks, CHUNK))):
            for task in chunk:
                if not self._ledger.is_done(task.id):
                    await self._queue.put(task)
        for _ in range(self._window):
            await self._queue.put(None)

    async def _work(self) -> None:
        while task := await self._queue.get():
            self._ledger.settle(await self._do(task), is_last=self._is_last)
            if self._ledger.is_due:
                writing = self._thread.submit(self._ledger.write, self._ledger.take())
                await asyncio.shield(asyncio.wrap_future(writing))


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
