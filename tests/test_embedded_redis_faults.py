"""A redis-server that is slow to load, that dies, that lives in an odd place: the server goes on with all it had."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.store import embedded
from app.store.connection import answers, connect
from app.store.embedded import embedded_redis, find_redis_server
from models.renderer import Renderer
from tests.conftest import is_running, wait_until
from tests.fake_engine import FakeEngine
from tests.live import Live, serve_live

PATIENCE_S = 60.0
# Redis looks up from loading every 1024 keys.
KEYS = 4000


async def until_it_answers(redis: Redis) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await answers(redis):
            await asyncio.sleep(0.01)


async def kill(redis: Redis) -> None:
    """As the kernel does when memory runs out."""
    pid = (await redis.info("server"))["process_id"]
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_S):
        while is_running(pid):
            await asyncio.sleep(0.001)


def find_log(directory: Path) -> Path:
    """The append-only file that grows; Redis 7 has a folder of several."""
    return max(directory.rglob("appendonly*.aof"))


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "redis"


@pytest.fixture
async def redis(directory: Path) -> AsyncIterator[Redis]:
    """A connection to an embedded Redis."""
    async with embedded_redis(directory) as url, connect(url) as connection:
        yield connection


@pytest.mark.anyio
async def test_loading_may_take_longer_than_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with embedded_redis(tmp_path) as url, connect(url) as redis:
        pipeline = redis.pipeline(transaction=False)
        for number in range(KEYS):
            pipeline.set(f"test:{number}", "kept")
        await pipeline.execute()
    program = tmp_path / "slow-redis-server"
    program.write_text(f'#!/bin/sh\nexec "{find_redis_server()}" "$@" --key-load-delay 100\n')
    program.chmod(0o755)
    spawn = embedded._RedisServer._spawn

    def spawn_listening(server: embedded._RedisServer) -> subprocess.Popen[bytes]:
        process = spawn(server)
        wait_until(lambda: listens(tmp_path / "redis.sock"), "redis-server listens", PATIENCE_S)
        return process

    monkeypatch.setattr(embedded, "find_redis_server", lambda: str(program))
    monkeypatch.setattr(embedded._RedisServer, "_spawn", spawn_listening)
    monkeypatch.setattr(embedded, "START_S", 0.0)
    async with embedded_redis(tmp_path) as url, connect(url) as redis:
        assert await redis.dbsize() == KEYS


@pytest.mark.anyio
async def test_redis_that_dies_comes_back_with_all_it_had(
    redis: Redis, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        await redis.set("test:value", number)
        await kill(redis)
        async with asyncio.timeout(PATIENCE_S):
            while caplog.text.count("the embedded redis-server is back") <= number:
                await asyncio.sleep(0.01)
        assert await redis.get("test:value") == b"%d" % number
    told = [record.getMessage() for record in caplog.records if record.levelname == "CRITICAL"]
    log = directory / "redis.log"
    assert told == [f"the embedded redis-server has died (status -9) and is started again; {log} may say why"] * 3


@pytest.mark.anyio
async def test_redis_that_cannot_come_back_is_tried_again(
    redis: Redis, directory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "PAUSE_S", 0.05)
    await redis.set("test:value", "kept")
    log = find_log(directory)
    whole = log.read_bytes()
    log.write_bytes(b"not a log\r\n" * 20)
    await kill(redis)
    async with asyncio.timeout(PATIENCE_S):
        while "another attempt follows" not in caplog.text:
            await asyncio.sleep(0.01)
    log.write_bytes(whole)
    await until_it_answers(redis)
    assert await redis.get("test:value") == b"kept"


@pytest.mark.anyio
async def test_directory_may_have_any_name(tmp_path: Path) -> None:
    odd = tmp_path / "a b?c#d%41&é:1@x+'\"[鸟]"
    for before in (None, b"kept"):
        async with embedded_redis(odd) as url, connect(url) as redis:
            assert await redis.getset("test:value", "kept") == before
    assert (odd / "lock").exists()


@pytest.fixture
async def live(redis: Redis, directory: Path, renderer: Renderer) -> AsyncIterator[Live]:
    url = f"unix://{directory / 'redis.sock'}"
    async with serve_live(FakeEngine(renderer), url) as running:
        yield running


@pytest.mark.anyio
async def test_server_is_not_ready_while_redis_is_gone_and_then_goes_on(
    live: Live, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = (await live.client.post("/sessions", json={"character_id": "lyra"})).json()["id"]
    path = f"/sessions/{session}/messages"
    assert (await live.client.post(path, json={"content": "Hello."})).status_code == 200
    come_back, may_come_back = embedded._RedisServer._came_back, asyncio.Event()

    async def come_back_when_told(server: embedded._RedisServer) -> bool:
        await may_come_back.wait()
        return await come_back(server)

    monkeypatch.setattr(embedded._RedisServer, "_came_back", come_back_when_told)
    await kill(redis)
    refused = await live.client.get("/ready")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
    assert (await live.client.post(path, json={"content": "Hello?"})).status_code == 503
    may_come_back.set()
    await until_it_answers(redis)
    assert (await live.client.get("/ready")).status_code == 200
    assert (await live.client.post(path, json={"content": "Again."})).json()["version"] == 3


@pytest.mark.anyio
async def test_redis_that_refuses_to_go_is_told_again(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "STOP_S", 0.1)
    async with asyncio.timeout(PATIENCE_S):
        async with embedded_redis(directory) as url, connect(url) as redis:
            await redis.mset({f"test:{number}": "x" for number in range(100)})
            # Half a second, in which it writes its file anew.
            await redis.config_set("rdb-key-save-delay", 5000)
            for way in ("no", "yes"):
                await redis.config_set("appendonly", way)
    assert "can't exit" in (directory / "redis.log").read_text()
