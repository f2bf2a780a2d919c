"""Processes that a signal doesn't reach.

A terminal sends Ctrl-C to every process of a command at once. An engine that hears it stops by itself, in the middle of
replies that the server would let end, and complains about it.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

# How long the signal may go unheard here, too.
PAUSE_S = 0.2


@contextmanager
def unheard_by_children(number: signal.Signals) -> Iterator[None]:
    """Processes started meanwhile, and theirs, never get the signal; it is still heard here. For the main thread.

    They inherit that it is blocked. To hear it all the same, a timer opens the gate for a moment, again and again.
    """

    def listen(*_: object) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        signal.pthread_sigmask(signal.SIG_BLOCK, {number})

    resource_tracker.ensure_running()  # its start would unblock the signal
    handler = signal.signal(signal.SIGALRM, listen)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    signal.setitimer(signal.ITIMER_REAL, PAUSE_S, PAUSE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGALRM, handler)
