"""The results of requests that clients have named, in Redis: each done once, and told again for a day.

Under `oc:{operation:<name>}` a hash: the fingerprint of the request, its owner and until when it is at it, by Redis's
clock, the `session` that it makes, and in the end the result. Of an owner that died the claim runs out by itself.
"""

import asyncio
import logging
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
from anyio.to_thread import run_sync
from redis.asyncio import Redis

from app.errors import IdempotencyBusyError, IdempotencyMismatchError
from app.sessions.ids import new_id
from app.sessions.receipts import KEPT_S
from app.store.connection import Replies, redis_errors
from app.store.keys import session_key
from app.store.scripts import load_script

logger = logging.getLogger(__name__)

# Smaller bodies aren't worth a thread.
_SMALL_BYTES = 1 << 14


@dataclass(frozen=True, slots=True)
class Result:
    """A response as it was sent; without a body where that was too large to be kept."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do an operation. `fresh` says that nobody has tried before."""

    name: str
    owner: str
    fresh: bool


class Claims:
    """All methods raise UnavailableError when Redis doesn't answer."""

    def __init__(self, redis: Redis, lease_s: float) -> None:
        self._redis: Replies = redis
        self._lease_ms = int(lease_s * 1000)
        self._claim = redis.register_script(load_script("claim"))
        self._keep = load_script("keep_claim")
        self._attach = redis.register_script(load_script("attach"))
        self._settle = redis.register_script(load_script("settle_claim"))
        self._held: set[Claim] = set()

    async def claim(self, name: str, fingerprint: str) -> Claim | Result:
        """The right to do the operation, or its result.

        Raises IdempotencyMismatchError when it was another request, IdempotencyBusyError while somebody is at it.
        """
        owner = new_id("claim")
        async with redis_errors():
            outcome, *stored = await self._claim(
                keys=[record_key(name)], args=[fingerprint, owner, self._lease_ms, KEPT_S * 1000]
            )
        if outcome == b"other":
            raise IdempotencyMismatchError("this Idempotency-Key was used for another request: make a new one")
        if outcome == b"busy":
            raise IdempotencyBusyError("the request of this Idempotency-Key is still under way")
        if outcome == b"done":
            return await _load(*stored)
        claim = Claim(name, owner, outcome == b"new")
        self._held.add(claim)
        return claim

    async def attach(self, name: str, session_id: str) -> None:
        """Let what the operation of that name comes to be erased with the session, which it is about."""
        keys = [session_key(session_id, part) for part in ("meta", "operations")]
        async with redis_errors():
            await self._attach(keys=keys, args=[name, KEPT_S * 1000])

    async def settle(self, claim: Claim, result: Result) -> None:
        """Keep what the operation came to; nothing where its session has been erased since."""
        body = await _pack(result.body)
        headers = orjson.dumps([[part.decode("latin-1") for part in pair] for pair in result.headers])
        await self._end(claim, "done", KEPT_S * 1000, result.status, headers, body)

    async def release(self, claim: Claim, *, untouched: bool) -> None:
        """Let somebody else try, with the same request; with any, where this one certainly did nothing."""
        await self._end(claim, "untouched" if untouched and claim.fresh else "undone")

    async def _end(self, claim: Claim, *arguments: str | int | bytes) -> None:
        self._held.discard(claim)
        async with redis_errors():
            await self._settle(keys=[record_key(claim.name)], args=[claim.owner, *arguments])

    async def keep(self, every_s: float) -> None:
        """Keep every claim that is held here, for ever: a round that fails is the next one's to make good."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self._keep_all()
            except Exception as error:  # whatever it is, the other claims depend on the next round
                logger.warning("%d claims were not kept", len(self._held), exc_info=error)

    async def _keep_all(self) -> None:
        if not self._held:
            return
        async with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for claim in self._held:
                pipeline.eval(self._keep, 1, record_key(claim.name), claim.owner, self._lease_ms)
            await pipeline.execute()


async def erase_records(redis: Redis, names: Iterable[str]) -> None:
    """Forget operations, results and all; whoever is at one of them keeps no result."""
    async with redis_errors():
        pipeline = redis.pipeline(transaction=False)
        for name in names:
            pipeline.delete(record_key(name))
        await pipeline.execute()


def record_key(name: str) -> str:
    """The key of an operation's record."""
    return f"oc:{{operation:{name}}}"


async def _pack(body: bytes | None) -> bytes:
    if body is None:
        return b""
    return zlib.compress(body, 1) if len(body) < _SMALL_BYTES else await run_sync(zlib.compress, body, 1)


async def _load(status: bytes, headers: bytes, packed: bytes) -> Result:
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in orjson.loads(headers)]
    if not packed:
        return Result(int(status), pairs, None)
    body = zlib.decompress(packed) if len(packed) < _SMALL_BYTES else await run_sync(zlib.decompress, packed)
    return Result(int(status), pairs, body)
