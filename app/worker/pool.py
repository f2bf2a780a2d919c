"""Processes beside the server's, so that no file, however large or hostile, holds up the event loop or takes it along.

They are started when there is work, and run when nobody else wants the processor: whoever is chatting comes first.
While somebody is answered they rest between files, too, or a thousand cards would be felt in each reply of a minute.
"""

import os
import signal
import sys
from collections.abc import Callable
from time import monotonic
from typing import TypeVar, TypeVarTuple

from anyio import BrokenWorkerProcess, CapacityLimiter, fail_after, sleep, to_process

from app.errors import InvalidRequestError, UnavailableError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LOWEST_PRIORITY = 19
MOST_WAITING = 128
# The slowest file that the limits let through takes some seconds on a machine that is busy.
LIMIT_S = 60.0
# Rests while somebody is answered: of the time that the file before took, and at most so long.
REST_SHARE, MOST_REST_S = 8.0, 0.5


class FileBeyondError(InvalidRequestError):
    """The file was given up: `file_too_slow` or `file_too_heavy`."""


class Worker:
    """Runs functions on files, as many at once as half the processors. Open it in the event loop that uses it.

    `answering` says whether somebody is being answered.
    """

    def __init__(
        self, *, most: int | None = None, limit_s: float = LIMIT_S, answering: Callable[[], bool] = lambda: False
    ) -> None:
        self._limiter = CapacityLimiter(most or max(1, (os.cpu_count() or 1) // 2))
        self._limit_s = limit_s
        self._answering = answering
        self._rest_until = 0.0

    async def run(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """What `function` returns or raises. It and its arguments are pickled; its module is imported over there.

        A cancel ends the process. Raises UnavailableError when too much is waiting or no process starts, and
        FileBeyondError when the file takes too long or more than the process has.
        """
        if self._limiter.statistics().tasks_waiting >= MOST_WAITING:
            raise UnavailableError("too many files wait to be read or written: try again", code="overloaded")
        async with self._limiter:
            if self._answering():
                await sleep(max(0.0, self._rest_until - monotonic()))
            began = monotonic()
            try:
                with fail_after(self._limit_s):
                    return await to_process.run_sync(_run, function, *arguments, cancellable=True)
            except TimeoutError:
                told = f"the file takes longer than {self._limit_s:g} s, and was given up"
                raise FileBeyondError(told, code="file_too_slow") from None
            except BrokenWorkerProcess as error:
                # Only those that anyio raises before the work begins say something.
                if error.args:
                    told = "no process could be started for the file: try again"
                    raise UnavailableError(told, code="worker_failed") from error
                told = "the process that worked on the file has ended before it was done"
                raise FileBeyondError(told, code="file_too_heavy") from error
            finally:
                ended = monotonic()
                self._rest_until = ended + min(MOST_REST_S, REST_SHARE * (ended - began))


def _run(function: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """In the process: `function`, after everybody else's work. Ctrl-C in a terminal is the server's to answer."""
    if sys.platform == "linux":
        # Gives way to any other process at once; the lowest priority would still take its turns from a busy engine.
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST_PRIORITY)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return function(*arguments)
