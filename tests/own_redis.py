"""A redis-server that a test kills and starts again."""

import subprocess
from contextlib import suppress
from pathlib import Path

from redis import Redis

from app.store.embedded import find_redis_server
from tests.conftest import wait_until


class OwnRedis:
    """It writes to the disk before it answers, so that what it has acknowledged survives."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.url = f"unix://{directory}/redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ("--dir", self._directory, "--unixsocket", self._directory / "redis.sock", "--port", "0")
        durable = ("--appendonly", "yes", "--appendfsync", "always")
        self._process = subprocess.Popen([find_redis_server(), *options, *durable], stdout=subprocess.DEVNULL)
        with Redis.from_url(self.url) as redis:
            wait_until(lambda: _answers(redis), "Redis answers")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


def _answers(redis: Redis) -> bool:
    with suppress(Exception):
        return bool(redis.ping())
    return False
