"""The time between two turns of a session, in which something can be done for the next one."""

from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class Pause:
    """The time until a session's next turn begins, which ends what is being read for it."""

    def __init__(self) -> None:
        self._scope: anyio.CancelScope | None = None
        self._over = False

    def end(self) -> None:
        self._over = True
        if self._scope:
            self._scope.cancel()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What is done inside is cancelled when the pause ends, and left out when it has."""
        with anyio.CancelScope() as self._scope:
            if self._over:
                self._scope.cancel()
            yield
