"""Users as clients name them: what is theirs, and how all of it is erased.

Under `oc:{user:<digest>}`: `:sessions` (sorted set of ids by the time they were opened) and `:transcripts` (keys of the
ids of replies that they got without a session, by when these run out).
"""

import time

from redis.asyncio import Redis

from app.errors import NotFoundError
from app.store.connection import Replies, redis_errors
from app.store.sessions import SessionStore, users_key

# A session that isn't there is about to be, or never came: by then it is known which.
OPENED_S = 60.0


class UserStore:
    """All methods raise UnavailableError when Redis doesn't answer."""

    def __init__(self, redis: Redis, sessions: SessionStore) -> None:
        self._redis: Replies = redis
        self._sessions = sessions

    async def erase(self, user_id: str) -> int:
        """Erase all that is theirs by now; returns how many sessions there were. Cut short, it can be done again."""
        index = users_key(user_id, "sessions")
        erased = 0
        async with redis_errors():
            opened = await self._redis.zrange(index, 0, -1, withscores=True)
        for session_id, at in opened:
            try:
                await self._sessions.delete(session_id.decode(), user_id)
                erased += 1
            except NotFoundError:
                if at < time.time() - OPENED_S:
                    async with redis_errors():
                        await self._redis.zrem(index, session_id)
        await self._erase_transcripts(users_key(user_id, "transcripts"))
        return erased

    async def _erase_transcripts(self, index: str) -> None:
        async with redis_errors():
            keys = await self._redis.zrange(index, 0, -1)
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.delete(key)
            await pipeline.execute()
            # What was added since stays.
            if keys:
                await self._redis.zrem(index, *keys)
