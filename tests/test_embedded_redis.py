"""The Redis that the server starts itself: its own, kept, and taken over from whoever was killed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError

from app.store.connection import answers, connect
from app.store.embedded import EmbeddedRedisError, embedded_redis, find_redis_server
from tests.conftest import ROOT, is_running, wait_until

KEYS = 8000
# A process that starts Redis as the server does, says so, and waits to be killed.
HOLDER = """
import asyncio, sys
from pathlib import Path
from app.store.embedded import embedded_redis

async def hold():
    async with embedded_redis(Path(sys.argv[1])) as url:
        print(url, flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


async def remember(url: str, value: str) -> str | None:
    """Write `value`; returns what was there before."""
    async with connect(url) as redis:
        before = await redis.getset("test:value", value)
        return before.decode() if isinstance(before, bytes) else before


async def is_loading(redis: Redis) -> bool:
    try:
        await redis.ping()
    except RedisError as error:
        return isinstance(error, BusyLoadingError)
    raise AssertionError("Redis has loaded its data")


def start(command: list[str | Path]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


@contextmanager
def killed_holder(directory: Path) -> Iterator[str]:
    """The URL of a redis-server whose own server was killed with -9."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        url = holder.stdout.readline().strip()
        yield url
        holder.kill()


@pytest.mark.anyio
async def test_embedded_redis_listens_on_a_private_socket_alone(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url, connect(url) as redis:
        assert url == f"unix://{tmp_path}/redis.sock"
        assert (tmp_path / "redis.sock").stat().st_mode & 0o777 == 0o700
        assert [*(await redis.config_get("port")).values()] == ["0"]
        assert [*(await redis.config_get("appendonly")).values()] == ["yes"]


@pytest.mark.anyio
async def test_embedded_redis_keeps_its_data(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url:
        await remember(url, "kept")
    async with embedded_redis(tmp_path) as url:
        assert await remember(url, "") == "kept"


@pytest.mark.anyio
async def test_embedded_redis_stops_with_its_server(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url, connect(url) as redis:
        pid = (await redis.info("server"))["process_id"]
    assert not is_running(pid)


@pytest.mark.anyio
async def test_embedded_redis_is_for_one_server(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url:
        with pytest.raises(EmbeddedRedisError, match="is in use by another server: stop it, or set"):
            async with embedded_redis(tmp_path):
                pass
        assert await remember(url, "x") is None


@pytest.mark.anyio
async def test_embedded_redis_takes_over_from_a_killed_server(tmp_path: Path) -> None:
    with killed_holder(tmp_path) as orphan:
        await remember(orphan, "kept")
    async with connect(orphan) as left_behind:
        assert await answers(left_behind)
        pid = (await left_behind.info("server"))["process_id"]
    async with embedded_redis(tmp_path) as url:
        assert await remember(url, "") == "kept"
        wait_until(lambda: not is_running(pid), "the redis-server left behind is gone")


@pytest.mark.anyio
async def test_embedded_redis_takes_over_from_a_server_killed_while_it_loaded(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url, connect(url) as redis:
        pipeline = redis.pipeline(transaction=False)
        for number in range(KEYS):
            pipeline.set(f"test:{number}", "kept")
        await pipeline.execute()
    options = ("--dir", tmp_path, "--unixsocket", tmp_path / "redis.sock", "--port", "0", "--appendonly", "yes")
    slowly = ("--key-load-delay", "500")  # half a millisecond each; it looks up from its work every 1024 keys
    orphan = await asyncio.to_thread(start, [find_redis_server(), *options, *slowly])
    try:
        async with connect(url) as redis:
            while not await is_loading(redis):
                await asyncio.sleep(0)
        async with embedded_redis(tmp_path) as again, connect(again) as redis:
            assert orphan.wait(10) == 0
            assert await redis.dbsize() == KEYS
    finally:
        orphan.kill()
        orphan.wait()


@pytest.mark.anyio
async def test_embedded_redis_starts_where_all_was_killed(tmp_path: Path) -> None:
    with killed_holder(tmp_path) as orphan:
        await remember(orphan, "kept")
        async with connect(orphan) as redis:
            pid = (await redis.info("server"))["process_id"]
    os.kill(pid, signal.SIGKILL)
    assert (tmp_path / "redis.sock").exists()
    assert (tmp_path / "lock").exists()
    async with embedded_redis(tmp_path) as url:
        assert await remember(url, "") == "kept"


@pytest.mark.anyio
async def test_embedded_redis_lives_in_a_deep_directory(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20) / ("deeper" * 20)
    async with embedded_redis(deep) as url:
        await remember(url, "kept")
        folder = Path(url.removeprefix("unix://")).parent
        assert len(url) < 108
        assert folder.stat().st_mode & 0o777 == 0o700
    async with embedded_redis(deep) as again:
        assert again == url
        assert await remember(again, "") == "kept"


@pytest.mark.anyio
async def test_embedded_redis_that_cannot_start_names_its_log(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url:
        await remember(url, "kept")
    for log in (tmp_path / "appendonlydir").rglob("*.aof") if (tmp_path / "appendonlydir").exists() else ():
        log.write_bytes(b"not a log\r\n" * 20)
    if (tmp_path / "appendonly.aof").exists():
        (tmp_path / "appendonly.aof").write_bytes(b"not a log\r\n" * 20)
    with pytest.raises(EmbeddedRedisError, match=r"redis-server ended at start; .*redis\.log says why"):
        async with embedded_redis(tmp_path):
            pass


def test_redis_server_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tmp_path / "redis-server"
    ours.symlink_to(find_redis_server())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == str(ours)
