"""What records were before: the latest versions of each, in a hash of its own, read by number or page by page."""

from collections.abc import Callable
from typing import Any, Generic

import orjson
from redis.asyncio import Redis

from app.errors import NotFoundError, quoted
from app.store.connection import Replies, redis_errors
from app.store.record import R


class History(Generic[R]):
    """The versions of one kind's records. All methods raise UnavailableError when Redis doesn't answer."""

    def __init__(self, redis: Redis, key: Callable[[str], str], model: type[R], noun: str) -> None:
        """`key` makes the key of a part, as the docstring of `app.store.records` names them."""
        self._redis: Replies = redis
        self._key = key
        self._model = model
        self._noun = noun

    async def page(self, record: R, *, before: int | None = None, limit: int = 50) -> list[R]:
        """The record as it is and as it was, newest first; only versions `before` that one, at most `limit`."""
        newest = record.version if before is None else min(before - 1, record.version)
        numbers = [str(number) for number in range(newest, max(newest - limit, 0), -1) if number < record.version]
        async with redis_errors():
            raws = await self._redis.hmget(self._key(f"versions:{record.id}"), numbers) if numbers else []
        older = [self._model.loads(raw) for raw in raws if raw is not None]
        return [record, *older] if newest == record.version else older

    async def entries(
        self, record_id: str, *, before: int | None = None, limit: int = 50
    ) -> list[dict[str, Any]]:  # what `index_entry` made
        """What the index says of the same page, or said when the versions were new. Raises NotFoundError."""
        async with redis_errors():
            raw = await self._redis.hget(self._key("index"), record_id)
            if raw is None:
                raise unknown(self._noun, record_id)
            now = orjson.loads(raw)
            newest = now["version"] if before is None else min(before - 1, now["version"])
            numbers = list(range(min(newest, now["version"] - 1), max(newest - limit, 0), -1))
            fields = [f"{number}:entry" for number in numbers]
            raws = await self._redis.hmget(self._key(f"versions:{record_id}"), fields) if fields else []
        older = [orjson.loads(raw) for raw in raws if raw is not None]
        return [now, *older] if newest == now["version"] else older

    async def read(self, record: R, version: int) -> R:
        """One version. Raises NotFoundError for one that never was, or is no longer kept."""
        if version == record.version:
            return record
        async with redis_errors():
            raw = await self._redis.hget(self._key(f"versions:{record.id}"), str(version))
        if raw is None:
            raise NotFoundError(f"{self._noun} {quoted(record.id)} has no version {version}", code="version_not_found")
        return self._model.loads(raw)


def unknown(noun: str, record_id: str) -> NotFoundError:
    """What is said of an id that stands for nothing."""
    return NotFoundError(f"there is no {noun} {quoted(record_id)}", code=f"{noun}_not_found")
