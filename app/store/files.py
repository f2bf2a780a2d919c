"""The files of records in Redis, where every replica sees them: one hash a record, by the SHA-256 of the content.

They are written with the record that names them, and erased with the last version that does: `Records` does both.
"""

from collections.abc import Mapping
from pathlib import Path

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from redis.asyncio import Redis

from app.errors import NotFoundError
from app.store.connection import Replies, redis_errors

# Read at once; a card's files are few and large, or many and small.
FILES_A_READ = 64
# Records whose files are in memory at a time: up to 256 MiB of each.
MOST_COPIES = 2


class Files:
    """Reads them. All methods raise UnavailableError when Redis doesn't answer."""

    def __init__(self, redis: Redis, key: str) -> None:
        """`key` and a record's id are the key of its files."""
        self._redis: Replies = redis
        self._key = key
        self._copies = CapacityLimiter(MOST_COPIES)

    async def read(self, record_id: str, digest: str) -> bytes:
        """The file's content. Raises NotFoundError when its record, or the version that names it, is gone by now."""
        async with redis_errors():
            blob: bytes | None = await self._redis.hget(f"{self._key}:{record_id}", digest)
        if blob is None:
            raise _gone(record_id)
        return blob

    async def read_all(self, record_id: str, files: Mapping[str, str]) -> dict[str, bytes]:
        """The contents of `files` (digests by path), by digest. Raises NotFoundError as `read` does."""
        found: dict[str, bytes] = {}
        digests = sorted(set(files.values()))
        for start in range(0, len(digests), FILES_A_READ):
            some = digests[start : start + FILES_A_READ]
            async with redis_errors():
                blobs = await self._redis.hmget(f"{self._key}:{record_id}", some)
            found |= {digest: blob for digest, blob in zip(some, blobs, strict=True) if blob is not None}
        if len(found) < len(digests):
            raise _gone(record_id)
        return found

    async def copy(self, record_id: str, files: Mapping[str, str], folder: Path) -> None:
        """Put the contents of `files` into `folder`, each under its digest. Raises NotFoundError as `read` does."""
        async with self._copies:
            contents = await self.read_all(record_id, files)
            await run_sync(_write, contents, folder)


def _write(contents: Mapping[str, bytes], folder: Path) -> None:
    for name, blob in contents.items():
        (folder / name).write_bytes(blob)


def _gone(record_id: str) -> NotFoundError:
    return NotFoundError(f"{record_id!r}, or this version of it, has just been deleted", code="file_not_found")
