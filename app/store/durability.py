"""How safe what was said is before it is answered, by level, and whether a Redis can keep its word.

A crash of the server loses nothing that was answered, on any level: it is in Redis then. A crash of Redis loses, with
`everysec`, up to the last two seconds; with `always` nothing, as long as its disk lives; with `replicated`, which waits
for the append-only files of Redis and of one replica (`WAITAOF`, Redis 7.2 and later), nothing where one of the two
lives on.
"""

import logging
from collections.abc import Sequence
from typing import Literal

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from app.errors import UnavailableError
from app.store.connection import Replies, is_cluster, redis_errors
from app.store.scripts import load_script

logger = logging.getLogger(__name__)

Durability = Literal["everysec", "always", "replicated"]

# For two disks, after the write is done. A copy that is asked tells how far its file was just before, and is next heard
# of after a second: asked again and again, it is heard within 0.1 s.
SHORT_WAITS_MS, WAIT_MS = (2, 10, 50, 250), 5000


class DurabilityError(RuntimeError):
    """The Redis that is there can't do what was asked for; the message says what to change."""


class DurableScript:
    """A script that writes, and has done so when what it wrote is as safe as `level` says."""

    def __init__(self, redis: Redis, name: str, level: Durability) -> None:
        self._redis: Replies = redis
        self._script = redis.register_script(load_script(name))
        self._level = level

    async def __call__(self, *, keys: Sequence[str], args: Sequence[str | int | float | bytes]) -> bytes:
        """The script's answer. Raises UnavailableError when it isn't safe in time; it is written all the same."""
        async with redis_errors():
            if self._level != "replicated":
                outcome: bytes = await self._script(keys=keys, args=args)
                return outcome
            # On one connection: what is waited for are the writes of that one.
            pipeline = self._redis.pipeline(transaction=False)
            await self._script(keys=keys, args=args, client=pipeline)
            _wait_for_disks(pipeline)
            outcome, *_, disks = await pipeline.execute()
        _check_disks(*disks)
        return outcome

    async def confirm(self, key: str, kept_s: int) -> None:
        """Raise UnavailableError while what was written before isn't as safe as the level says.

        That is known of a write that comes after it: `key` is kept for so long from now on.
        """
        if self._level != "replicated":
            return
        async with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.expire(key, kept_s)
            _wait_for_disks(pipeline)
            *_, disks = await pipeline.execute()
        _check_disks(*disks)


def _wait_for_disks(pipeline: Replies) -> None:
    for wait_ms in (*SHORT_WAITS_MS, WAIT_MS):
        pipeline.execute_command("WAITAOF", 1, 1, wait_ms)


def _check_disks(here: int, replicas: int) -> None:
    if not (here and replicas):
        raise UnavailableError("this is written, but not yet to two disks", code="not_durable")


async def check_durability(redis: Redis, level: Durability) -> None:
    """Raise DurabilityError when Redis can't keep the level; say in the log what can't be found out, or is less."""
    if level == "replicated":
        await _check_waiting(redis)
    try:
        settings = await _read_settings(redis)
    except RedisError as error:
        logger.warning("this Redis doesn't tell its settings, so that %r is taken on trust: %s", level, error)
        return
    for appendonly, appendfsync in settings:
        if level != "everysec" and appendonly != "yes":
            raise DurabilityError(f"OPENCHARACTER_DURABILITY={level} needs a Redis with `appendonly yes`")
        if level == "always" and appendfsync != "always":
            raise DurabilityError(
                f"OPENCHARACTER_DURABILITY=always needs a Redis with `appendfsync always`: {appendfsync}"
            )
    if any(appendonly != "yes" or appendfsync == "no" for appendonly, appendfsync in settings):
        logger.warning("this Redis may lose what it was told when it stops: set `appendonly yes` in its configuration")


async def _check_waiting(redis: Redis) -> None:
    if is_cluster(redis):
        raise DurabilityError("OPENCHARACTER_DURABILITY=replicated isn't for clusters: use `always` there")
    asked: Replies = redis
    try:
        [known] = await asked.execute_command("COMMAND INFO", "waitaof")
    except RedisError as error:
        raise DurabilityError(f"OPENCHARACTER_DURABILITY=replicated can't be checked here: {error}") from error
    if not known:
        raise DurabilityError("OPENCHARACTER_DURABILITY=replicated needs WAITAOF, which Redis knows from 7.2 on")


async def _read_settings(redis: Redis) -> list[tuple[str, str]]:
    """`appendonly` and `appendfsync` of every Redis that writes. Raises RedisError where that is forbidden."""
    asked: Replies = redis
    told = await asked.config_get("append*", **({"target_nodes": "primaries"} if is_cluster(redis) else {}))
    nodes = [told] if "appendonly" in told or b"appendonly" in told else list(told.values())
    found = [{_text(name): _text(value) for name, value in node.items()} for node in nodes]
    if not all("appendonly" in node for node in found):
        raise ResponseError("CONFIG GET says nothing")
    return [(node["appendonly"], node.get("appendfsync", "")) for node in found]


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
