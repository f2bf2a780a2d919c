"""A body that is read before anybody knows what for, and then read again: in memory, or in a file where it is large."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile

import anyio
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.types import Message, Receive, Scope

from app.api.http.body import bounded

MOST_MEMORY_BYTES = 1 << 20
PIECE_BYTES = 1 << 18


@dataclass(slots=True)
class Spool:
    """A body, its SHA-256, and where it came from: `receive` gives it once more, then what comes after it."""

    file: "SpooledTemporaryFile[bytes]"
    size: int
    sha256: str
    after: Receive
    given: int = 0
    ended: bool = False

    async def receive(self) -> Message:
        if self.ended:
            return await self.after()
        piece = await self._read()
        self.given += len(piece)
        self.ended = self.given >= self.size or not piece
        return {"type": "http.request", "body": piece, "more_body": not self.ended}

    async def _read(self) -> bytes:
        read = self.file.read
        return read(PIECE_BYTES) if self.size <= MOST_MEMORY_BYTES else await run_sync(read, PIECE_BYTES)


@asynccontextmanager
async def spooled(scope: Scope, receive: Receive, limit: int) -> AsyncIterator[Spool]:
    """The request's body, kept until exit. Raises BodyTooLargeError, and ClientDisconnect when it doesn't all come."""
    digest, size = hashlib.sha256(), 0
    file = SpooledTemporaryFile(MOST_MEMORY_BYTES, prefix="opencharacter-")  # noqa: SIM115  # closed below
    try:
        async with aclosing(bounded(Request(scope, receive).stream(), limit)) as pieces:
            async for piece in pieces:
                digest.update(piece)
                size += len(piece)
                # Beyond this it goes to the disk, which may be slow.
                await run_sync(file.write, piece) if size > MOST_MEMORY_BYTES else file.write(piece)
        file.seek(0)
        yield Spool(file, size, digest.hexdigest(), receive)
    finally:
        with anyio.CancelScope(shield=True):
            await run_sync(file.close) if size > MOST_MEMORY_BYTES else file.close()
