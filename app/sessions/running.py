"""The turns that run now: how many there may be, how often each sends a frame, and that nobody takes their sessions."""

import asyncio
import logging
from typing import TYPE_CHECKING

import anyio

from app.errors import UnavailableError
from app.metrics import Metrics
from app.store.sessions import SessionStore

if TYPE_CHECKING:
    from app.sessions.turn import RunningTurn

logger = logging.getLogger(__name__)

# Streams from which on a frame holds two tokens, and four.
PAIRS_FROM, FOURS_FROM = 8, 24


class Running:
    """The set of turns that have been entered and not been left."""

    def __init__(
        self, sessions: SessionStore, metrics: Metrics, *, most: int, stream_interval: int | None = None
    ) -> None:
        self._sessions = sessions
        self._metrics = metrics
        self._most = most
        self._stream_interval = stream_interval
        self._turns: set[RunningTurn] = set()

    def admit(self) -> None:
        """Raise UnavailableError when no more may run."""
        if len(self._turns) >= self._most:
            raise UnavailableError(f"{self._most} requests are running: try again", code="overloaded")

    @property
    def count(self) -> int:
        """How many run or wait for their first token."""
        return len(self._turns)

    def stream_interval(self) -> int:
        """Tokens a frame: the more streams, the more of a core each frame takes and the less one token shows."""
        running = len(self._turns)
        return self._stream_interval or (1 if running < PAIRS_FROM else 2 if running < FOURS_FROM else 4)

    def enter(self, turn: "RunningTurn") -> None:
        self._turns.add(turn)
        self._metrics.waiting.inc()

    def leave(self, turn: "RunningTurn", *, waited: bool) -> None:
        self._turns.discard(turn)
        (self._metrics.waiting if waited else self._metrics.running).dec()

    async def keep_leases(self, every_s: float) -> None:
        """Renew the lease of every turn, for ever: a round that fails is the next one's to make good."""
        while True:
            await asyncio.sleep(every_s)
            leases = [(turn.write.session.id, turn.write.turn_id) for turn in self._turns if turn.write]
            try:
                await self._sessions.renew(leases)
            except Exception as error:  # whatever it is, the other turns' sessions depend on the next round
                logger.warning("%d leases were not renewed", len(leases), exc_info=error)

    async def drain(self, timeout_s: float) -> None:
        """Wait until no turn runs, so that all of them are committed."""
        with anyio.move_on_after(timeout_s):
            while self._turns:
                await asyncio.sleep(0.02)
