"""On what terms a session is changed: what a client wants to hold before anything is done."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from app.errors import ConflictError
from app.sessions.session import Session

# What is done where a turn is running: refuse this one, wait for that one, or stop that one.
OnConflict = Literal["reject", "enqueue", "interrupt"]


async def nobody_goes() -> bool:
    """Of a client that can't be seen to go."""
    return False


@dataclass(frozen=True, slots=True)
class Terms:
    """`if_version` is the version that the client has seen, where only that one may be changed.

    Who waits for another turn gives up when the client `is_gone`. Where it `chooses`, the truest of n replies is told.
    """

    if_version: int | None = None
    on_conflict: OnConflict = "reject"
    is_gone: Callable[[], Awaitable[bool]] = nobody_goes
    chooses: bool = False

    def check(self, session: Session) -> None:
        """Raise ConflictError when the session has moved on."""
        if self.if_version not in (None, session.version):
            told = f"the session {session.id!r} is at version {session.version}, not at {self.if_version}"
            raise ConflictError(told, param="if_version", code="version_mismatch")
