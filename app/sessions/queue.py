"""Who wants a session that a turn has: refused, next after it, or in its place. One waits at a time, on any server."""

import time

import anyio

from app.errors import SessionBusyError, UnavailableError
from app.sessions.running import Running
from app.sessions.session import Session
from app.sessions.terms import Terms
from app.store.sessions import SessionStore

LOOK_S = 0.05


class Queue:
    """The places behind the turns of all sessions; nobody stands in one for longer than `most_s`."""

    def __init__(self, sessions: SessionStore, running: Running, most_s: float) -> None:
        self._sessions = sessions
        self._running = running
        self._most_s = most_s

    async def take(self, session_id: str, turn_id: str, terms: Terms) -> Session:
        """The session under the lease `turn_id`, now or when the turn that has it is over, as the terms say.

        Raises SessionBusyError for who may not wait, who has waited too long, and who was overtaken by an interruption.
        """
        taken = await self._sessions.line_up(session_id, turn_id, terms.on_conflict)
        if isinstance(taken, Session):
            return taken
        try:
            return await self._wait(session_id, turn_id, terms, taken)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._leave(session_id, turn_id)
            raise

    async def _wait(self, session_id: str, turn_id: str, terms: Terms, holder: str) -> Session:
        until = time.monotonic() + self._most_s
        stopped = ""
        while time.monotonic() < until:
            if terms.on_conflict == "interrupt" and holder not in ("", stopped):
                await self._running.stop(session_id, holder)
                stopped = holder
            await anyio.sleep(LOOK_S)
            if await terms.is_gone():
                raise SessionBusyError("the client went while it waited for another turn")
            taken = await self._sessions.line_up(session_id, turn_id, "stay")
            if isinstance(taken, Session):
                return taken
            holder = taken
        raise SessionBusyError(f"the session {session_id!r} was still answering after {self._most_s:g} s")

    async def _leave(self, session_id: str, turn_id: str) -> None:
        """A courtesy: the place runs out by itself, and so does the lease."""
        try:
            await self._sessions.leave(session_id, turn_id)
        except UnavailableError:
            return
