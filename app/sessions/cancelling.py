"""Ending a turn early, wherever it runs: what was spoken is kept."""

import time
from collections.abc import Sequence

import anyio

from app.errors import NotFoundError, UnavailableError, quoted
from app.sessions.message import Message
from app.sessions.running import Running
from app.sessions.session import Session
from app.store.sessions import SessionStore
from app.store.stops import Stops

LOOK_S = 0.02
# Beyond its lease, for a server that is slow to hear of it.
PATIENCE_S = 10.0


class Cancelling:
    """Cancels turns and waits for what becomes of them, for `lease_s` and a while at most."""

    def __init__(self, sessions: SessionStore, running: Running, stops: Stops, lease_s: float) -> None:
        self._sessions = sessions
        self._running = running
        self._stops = stops
        self._most_s = lease_s + PATIENCE_S

    async def running(self, session_id: str) -> str | None:
        """The id of the turn that has the session, if one has."""
        return await self._stops.running(session_id)

    async def cancel(self, session_id: str, turn_id: str) -> tuple[Session, Sequence[Message]]:
        """The session as it is without the turn, and what the turn has left in it. The same when it is over already.

        Raises NotFoundError for a turn that the session knows nothing of.
        """
        if await self._stops.running(session_id) == turn_id:
            await self._running.stop(session_id, turn_id)
            await self._until_over(session_id, turn_id)
        session = await self._sessions.get(session_id)
        written = session.written_by(turn_id)
        if not written and not await self._stops.knows(session_id, turn_id):
            raise unknown_turn(session_id, turn_id)
        return session, written

    async def _until_over(self, session_id: str, turn_id: str) -> None:
        until = time.monotonic() + self._most_s
        while await self._stops.running(session_id) == turn_id:
            if time.monotonic() > until:
                raise UnavailableError(f"the turn {turn_id!r} was told to stop and hasn't yet", code="turn_not_stopped")
            await anyio.sleep(LOOK_S)


def unknown_turn(session_id: str, turn_id: str) -> NotFoundError:
    """That the session had no such turn, or nothing is left of it."""
    return NotFoundError(f"the session {quoted(session_id)} knows no turn {quoted(turn_id)}", code="turn_not_found")
