"""The exact ids of replies to clients that keep their transcripts themselves, so that a prompt begins as it did before.

A reply is found by a digest of all that was said up to it, under `oc:{transcript:<digest of its opening>}:<digest>`:
one hash slot a transcript. Without its ids a prompt is read anew and nothing is wrong, so no failure of Redis is one
here.
"""

import logging
import time
from collections.abc import Mapping, Sequence

import anyio
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.store.connection import Replies
from app.store.packing import pack, unpack
from app.store.sessions import users_key
from models.examples import Line
from models.transcript import digest_lines

logger = logging.getLogger(__name__)

KEPT_S = 3 * 24 * 3600
PATIENCE_S = 0.5
# Longer replies, and older ones of a transcript, are encoded.
MOST_TOKENS = 16_384
MOST_READ = 1_024


class TranscriptStore:
    """Nothing here raises, or takes longer than PATIENCE_S.

    The system's lines are none of a transcript's. `scope` names what it and its ids are valid for.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis: Replies = redis

    async def read(self, scope: str, lines: Sequence[Line]) -> Mapping[int, list[int]]:
        """The ids of the assistant's lines by their places, where they are kept."""
        names = _names(scope, lines)
        places = [place for place in names if lines[place].role == "assistant"][-MOST_READ:]
        if not places:
            return {}
        found: list[bytes | None] = [None] * len(places)
        with anyio.move_on_after(PATIENCE_S):
            try:
                found = await self._redis.mget([names[place] for place in places])
            except (RedisError, OSError) as error:
                logger.warning("a transcript's ids weren't read: %s", error)
        return {place: unpack(raw) for place, raw in zip(places, found, strict=True) if raw}

    async def keep(
        self,
        scope: str,
        lines: Sequence[Line],
        replies: Sequence[tuple[str, Sequence[int]]],
        user_id: str | None = None,
    ) -> None:
        """Keep the ids of replies to `lines`, for KEPT_S, or until what is the user's is erased."""
        kept = [(text, ids) for text, ids in replies if len(ids) <= MOST_TOKENS]
        if not kept:
            return
        with anyio.move_on_after(PATIENCE_S):
            try:
                pipeline = self._redis.pipeline(transaction=False)
                for text, ids in kept:
                    names = _names(scope, [*lines, Line("assistant", text)])
                    pipeline.set(names[len(lines)], pack(ids), ex=KEPT_S)
                    if user_id:
                        index, now = users_key(user_id, "transcripts"), time.time()
                        pipeline.zadd(index, {names[len(lines)]: now + KEPT_S})
                        pipeline.zremrangebyscore(index, "-inf", now)
                        pipeline.expire(index, KEPT_S)
                await pipeline.execute()
            except (RedisError, OSError) as error:
                logger.warning("a reply's ids weren't kept: %s", error)


def _names(scope: str, lines: Sequence[Line]) -> dict[int, str]:
    """Keys by the places of lines, from the user's first one on, which names the transcript."""
    first = next((place for place, line in enumerate(lines) if line.role == "user"), 0)
    digests = digest_lines(scope, lines)
    return {place: f"oc:{{transcript:{digests[first]}}}:{digests[place]}" for place in range(first, len(lines))}
