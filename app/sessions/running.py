"""The turns that run now: how many there may be, how often each sends a frame, and that nobody takes their sessions."""

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

from app.errors import UnavailableError
from app.metrics import Metrics
from app.store.sessions import SessionStore
from app.store.stops import Stops

if TYPE_CHECKING:
    from app.sessions.turn import RunningTurn

logger = logging.getLogger(__name__)

# How long turns that are cut short may take to be committed.
CUT_S = 5.0
# How long nobody asks which turns are to stop after that has failed.
DEAF_S = 1.0
# Streams from which on a frame holds two tokens, and four.
PAIRS_FROM, FOURS_FROM = 8, 24


class Running:
    """The set of turns that have been entered and not been left."""

    def __init__(
        self,
        sessions: SessionStore,
        stops: Stops,
        metrics: Metrics,
        *,
        most: int,
        stream_interval: int | None = None,
    ) -> None:
        self._sessions = sessions
        self._stops = stops
        self._metrics = metrics
        self._most = most
        self._stream_interval = stream_interval
        self._turns: set[RunningTurn] = set()
        self._beginning: set[tuple[str, str]] = set()
        self._in_sessions = asyncio.Event()
        self._alone: set[asyncio.Task[None]] = set()

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
        if turn.write:
            self._in_sessions.set()
        self._metrics.waiting.inc()

    def leave(self, turn: "RunningTurn", *, waited: bool) -> None:
        self._turns.discard(turn)
        (self._metrics.waiting if waited else self._metrics.running).dec()

    @contextmanager
    def holding(self, session_id: str, lease: str) -> Iterator[None]:
        """Keep the lease while the body runs, in which a turn begins that is entered afterwards."""
        self._beginning.add((session_id, lease))
        try:
            yield
        finally:
            self._beginning.discard((session_id, lease))

    def let_go(self, playing: Coroutine[None, None, None]) -> None:
        """Have a turn played whether or not its client stays. `drain` waits for it."""
        task = asyncio.create_task(playing)
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)

    async def stop(self, session_id: str, turn_id: str) -> None:
        """Tell a session's turn to stop: at once where it runs here, else within what `hear_stops` takes there."""
        await self._stops.ask(session_id, turn_id)
        for turn in [turn for turn in self._turns if turn.write and turn.write.turn_id == turn_id]:
            turn.stop()

    async def hear_stops(self, every_s: float) -> None:
        """Stop the turns that are told to on other servers, or whose sessions are deleted, for ever.

        Nobody is asked while none runs.
        """
        while True:
            await self._in_sessions.wait()
            await asyncio.sleep(every_s)
            turns = [(turn, turn.write) for turn in self._turns if turn.write and not turn.stopped]
            if not turns:
                self._in_sessions.clear()
                continue
            try:
                told = await self._stops.asked([(write.session.id, write.turn_id) for _, write in turns])
            except Exception as error:  # whatever it is, the next round may hear them
                logger.warning("nobody knows which of %d turns are to stop", len(turns), exc_info=error)
                await asyncio.sleep(DEAF_S)
                continue
            for (turn, _), is_told in zip(turns, told, strict=True):
                if is_told:
                    turn.stop()

    async def keep_leases(self, every_s: float) -> None:
        """Renew the lease of each turn that runs or begins, for ever: a failed round is the next one's to make good."""
        while True:
            await asyncio.sleep(every_s)
            leases = [(turn.write.session.id, turn.write.turn_id) for turn in self._turns if turn.write]
            leases += self._beginning
            try:
                await self._sessions.renew(leases)
            except Exception as error:  # whatever it is, the other turns' sessions depend on the next round
                logger.warning("%d leases were not renewed", len(leases), exc_info=error)

    async def drain(self, timeout_s: float) -> None:
        """Wait until no turn runs, so that all of them are committed; who isn't done by then is stopped where it is."""
        with anyio.move_on_after(timeout_s):
            await self._until_none()
        for turn in self._turns:
            turn.stop()
        with anyio.move_on_after(CUT_S):
            await self._until_none()

    async def _until_none(self) -> None:
        while self._turns or self._alone:
            await asyncio.sleep(0.02)
