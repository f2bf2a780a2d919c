"""How safe what was said is: what Redis is started with, and what is asked of one that runs already."""

import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.errors import UnavailableError
from app.store.connection import connect
from app.store.durability import Durability, DurabilityError, check_durability
from app.store.embedded import embedded_redis
from app.store.sessions import SessionStore
from tests.conversations import exchange, new_session, spoken


@pytest.fixture
async def set_up(redis: Redis) -> AsyncIterator[Redis]:
    """A Redis whose settings a test may change."""
    yield redis
    await redis.config_set("appendonly", "yes")
    await redis.config_set("appendfsync", "everysec")


@pytest.mark.anyio
@pytest.mark.parametrize("level", ["everysec", "always"])
async def test_embedded_redis_writes_as_it_is_told(tmp_path: Path, level: Durability) -> None:
    async with embedded_redis(tmp_path, level) as url, connect(url) as redis:
        assert [*(await redis.config_get("appendfsync")).values()] == [level]
        await check_durability(redis, level)


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "value"), [("appendonly", "no"), ("appendfsync", "everysec"), ("appendfsync", "no")])
async def test_redis_that_cannot_always_keep_is_refused(set_up: Redis, name: str, value: str) -> None:
    await set_up.config_set("appendfsync", "always")
    await check_durability(set_up, "always")
    await set_up.config_set(name, value)
    with pytest.raises(DurabilityError, match=f"OPENCHARACTER_DURABILITY=always needs a Redis with `{name} "):
        await check_durability(set_up, "always")


@pytest.mark.anyio
async def test_redis_without_a_file_is_warned_of(set_up: Redis, caplog: pytest.LogCaptureFixture) -> None:
    await check_durability(set_up, "everysec")
    assert not caplog.records
    await set_up.config_set("appendonly", "no")
    await check_durability(set_up, "everysec")
    assert "set `appendonly yes`" in caplog.text


@pytest.mark.anyio
async def test_redis_that_tells_no_settings_is_trusted(
    redis: Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await redis.acl_setuser(
        "guest", enabled=True, passwords=["+secret"], keys=["*"], categories=["+@all"], commands=["-config", "-command"]
    )
    try:
        async with connect(f"{redis_url}?username=guest&password=secret") as guest:
            await check_durability(guest, "always")
            with pytest.raises(DurabilityError, match="can't be checked here"):
                await check_durability(guest, "replicated")
    finally:
        await redis.acl_deluser("guest")
    assert "taken on trust" in caplog.text


async def knows_waitaof(redis: Redis) -> bool:
    version = re.match(r"(\d+)\.(\d+)", (await redis.info("server"))["redis_version"])
    assert version
    return (int(version[1]), int(version[2])) >= (7, 2)


@pytest.mark.anyio
async def test_replicated_needs_a_redis_that_can_wait(redis: Redis) -> None:
    if await knows_waitaof(redis):
        await check_durability(redis, "replicated")
    else:
        with pytest.raises(DurabilityError, match="needs WAITAOF"):
            await check_durability(redis, "replicated")


@pytest.mark.anyio
async def test_write_that_is_not_safe_yet_is_not_acknowledged(redis: Redis) -> None:
    sessions = SessionStore(redis, 30)
    session = await sessions.create(new_session())
    added = exchange(session)
    # No replica is there, and an older Redis can't even wait for one.
    with pytest.raises(UnavailableError):
        await SessionStore(redis, 30, "replicated").commit(session, added, tip=added[-1].id, window=None)
    assert spoken(await sessions.get(session.id))[-1] == "Hello."
