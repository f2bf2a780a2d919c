"""On what terms a session is changed: what a client wants to hold before anything is done."""

from dataclasses import dataclass

from app.errors import ConflictError
from app.sessions.session import Session


@dataclass(frozen=True, slots=True)
class Terms:
    """`if_version` is the version that the client has seen, where only that one may be changed."""

    if_version: int | None = None

    def check(self, session: Session) -> None:
        """Raise ConflictError when the session has moved on."""
        if self.if_version not in (None, session.version):
            told = f"the session {session.id!r} is at version {session.version}, not at {self.if_version}"
            raise ConflictError(told, param="if_version", code="version_mismatch")
