"""The word that a turn is to stop, in Redis, for whichever server runs it.

Under `oc:{<session>}:cancel` stands the id of the turn that was last told to.
"""

from collections.abc import Sequence

from redis.asyncio import Redis

from app.store.connection import Replies, redis_errors
from app.store.keys import session_key

# For how long who asks again is told the same.
KEPT_S = 3600


class Stops:
    """All methods raise UnavailableError when Redis doesn't answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Replies = redis

    async def running(self, session_id: str) -> str | None:
        """The id of the turn that has the session, if one has."""
        async with redis_errors():
            turn_id: bytes | None = await self._redis.get(session_key(session_id, "lease"))
        return turn_id.decode() if turn_id is not None else None

    async def ask(self, session_id: str, turn_id: str) -> None:
        """Tell the turn to stop, wherever it runs."""
        async with redis_errors():
            await self._redis.set(session_key(session_id, "cancel"), turn_id, ex=KEPT_S)

    async def asked(self, turns: Sequence[tuple[str, str]]) -> list[bool]:
        """Which of the turns were told to, or have lost their session, which was deleted.

        `turns` are pairs of a session's id and the turn's, all asked for in one pipeline.
        """
        async with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for session_id, _ in turns:
                pipeline.get(session_key(session_id, "cancel"))
                pipeline.exists(session_key(session_id, "meta"))
            told = await pipeline.execute()
        words, sessions = told[::2], told[1::2]
        return [
            word == turn_id.encode() or not is_there
            for word, is_there, (_, turn_id) in zip(words, sessions, turns, strict=True)
        ]

    async def knows(self, session_id: str, turn_id: str) -> bool:
        """Whether the turn was told to stop, or has a stream."""
        async with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.get(session_key(session_id, "cancel"))
            pipeline.zscore(session_key(session_id, "turns"), turn_id)
            word, score = await pipeline.execute()
        return word == turn_id.encode() or score is not None
