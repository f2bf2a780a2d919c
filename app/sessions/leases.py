"""Who has a session now: one turn or one change at a time, on whichever server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio

from app.errors import UnavailableError
from app.sessions.afterwards import Afterwards
from app.sessions.ids import new_id
from app.sessions.preparation import Preparation
from app.sessions.queue import Queue
from app.sessions.receipts import current_operation
from app.sessions.running import Running
from app.sessions.session import Session
from app.sessions.terms import Terms
from app.store.sessions import SessionStore


class Leases:
    """Takes sessions for turns and changes, as their model and characters are now."""

    def __init__(
        self, sessions: SessionStore, queue: Queue, running: Running, afterwards: Afterwards, preparation: Preparation
    ) -> None:
        self._sessions = sessions
        self._queue = queue
        self._running = running
        self._afterwards = afterwards
        self._preparation = preparation

    @asynccontextmanager
    async def take(self, session_id: str, terms: Terms = Terms()) -> AsyncIterator[tuple[Session, str]]:
        """The session under a lease, given back when the body fails; else whatever commits gives it back.

        Raises DoneBefore when the current operation was done by an earlier attempt.
        """
        operation, turn_id = current_operation(), new_id("turn")
        await self._sessions.check_undone(session_id, operation)
        self._afterwards.overtake(session_id)
        session = await self._queue.take(session_id, turn_id, terms)
        try:
            # That attempt may have ended just now; from here on it can't commit any more.
            await self._sessions.check_undone(session_id, operation)
            terms.check(session)
            # A director, or a voice that is loaded, may take longer than a lease.
            with self._running.holding(session_id, turn_id):
                yield await self._preparation.renew(session), turn_id
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(UnavailableError):
                await self._sessions.release(session_id, turn_id)
            raise
