"""Runs what may take minutes for no longer than others can be kept waiting.

A thread can't be stopped: one that is given up goes on by itself, and keeps one of few places until it is through.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class NoPlaceError(Exception):
    """All places are taken by what was given up, or is under way."""


class Trials:
    """At most `places` calls at a time, each given up after `limit_s` seconds."""

    def __init__(self, places: int, limit_s: float) -> None:
        self.limit_s = limit_s
        self._places = asyncio.Semaphore(places)

    async def run(self, function: Callable[[], T]) -> T:
        """What `function` returns or raises, called in a thread of its own.

        Raises TimeoutError when it takes too long, NoPlaceError when no place gets free in as long a time.
        """
        try:
            async with asyncio.timeout(self.limit_s):
                await self._places.acquire()
        except TimeoutError:
            raise NoPlaceError from None
        loop = asyncio.get_running_loop()
        outcome = Future[T]()
        # A process that ends waits for no trial, and has no loop any more.
        outcome.add_done_callback(lambda _: _call_soon(loop, self._places.release))
        threading.Thread(target=_try, args=(function, outcome), daemon=True).start()
        waiting = asyncio.wrap_future(outcome)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # looked at, if by nobody else
        async with asyncio.timeout(self.limit_s):
            return await asyncio.shield(waiting)


def _try(function: Callable[[], T], outcome: Future[T]) -> None:
    try:
        outcome.set_result(function())
    except Exception as error:  # noqa: BLE001  # raised where the outcome is waited for
        outcome.set_exception(error)


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function)
