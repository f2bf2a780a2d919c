"""The real thing, once for all tests: a server process on the tiny model with a redis-server of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.from_thread
import httpx
import hypothesis
import pytest
from redis.asyncio import Redis

from app.store.connection import connect
from app.store.embedded import embedded_redis
from app.store.sessions import SessionStore
from models.renderer import Renderer, load_renderer
from tests.fake_engine import FakeEngine
from tests.live import Live, serve_live
from tests.refusals import ASK, CHAT

if TYPE_CHECKING:  # takes a second to import, and few tests need it
    from openai import AsyncOpenAI, OpenAI

ROOT = Path(__file__).parent.parent
TINY = ROOT / "models" / "tiny"
START_S = 240.0
STOP_S = 60.0
# What a user types, and the same with an engine that tests pace and break.
REAL = ("app", "serve")
FAKE = ("tests.fake_engine",)

# A loaded machine is slow now and then, which is no fault of the code under test.
hypothesis.settings.register_profile("tests", deadline=None, print_blob=True)
hypothesis.settings.load_profile("tests")


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Return as soon as `condition` holds; fail, naming `what`, when it doesn't in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s} s")
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether the process lives: one that only waits to be buried doesn't."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@dataclass(frozen=True)
class Server:
    """A server process: where it listens, who it is, where its data lies."""

    url: str
    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path

    def wait_until_ready(self) -> None:
        wait_until(self._ready, f"the server is ready (its log: {self.log})", START_S)

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/ready", timeout=5).status_code == 200
        return False

    def kill(self) -> None:
        """As `kill -9` does: no goodbye."""
        self.process.kill()
        self.process.wait(STOP_S)

    def stop(self) -> int:
        """As Ctrl-C in a container does. Returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(data_dir: Path, port: int, **settings: str) -> dict[str, str]:
    """The variables of a server on the tiny model; `settings` are OPENCHARACTER_ ones in lower case."""
    ours = {"port": str(port), "data_dir": str(data_dir), "model": "models/tiny", "embeddings": "off"}
    ours |= {"max_model_len": "4096"} | settings
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENCHARACTER_")}
    return kept | {f"OPENCHARACTER_{name.upper()}": value for name, value in ours.items()}


@contextmanager
def run_server(
    data_dir: Path, program: tuple[str, ...] = REAL, script: str = "{}", **settings: str
) -> Iterator[Server]:
    """Start a server as a user would, wait until it is ready, and stop it at the end."""
    data_dir.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), data_dir / "server.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *program],
            cwd=ROOT,
            env=environment(data_dir, port, **settings) | {"FAKE_ENGINE": script},
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", process, data_dir, log)
    try:
        server.wait_until_ready()
        yield server
    finally:
        if process.poll() is None:
            server.stop()
        # What a server that was killed left of its session: the engine's processes.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that tests share; those that hurt one start their own."""
    with run_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[httpx.Client]:
    """One client for all tests: making one reads the system's certificates, which takes longer than most requests."""
    with httpx.Client(base_url=server.url, timeout=120) as connections:
        yield connections


@pytest.fixture
def engine_lives_on(client: httpx.Client) -> Iterator[None]:
    """After each test that uses this, the same engine still answers."""
    yield
    answer = client.post(CHAT, json=ASK)
    assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator["OpenAI"]:
    """OpenAI's own client, strict about what it gets back."""
    from openai import OpenAI

    with OpenAI(
        base_url=f"{server.url}/v1", api_key="none", timeout=120, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture
async def async_api(server: Server) -> AsyncIterator["AsyncOpenAI"]:
    """The same, asynchronous."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="none", timeout=120, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    return load_renderer(str(TINY))


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A redis-server of the tests' own, started as the server starts its."""
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(embedded_redis(tmp_path_factory.mktemp("redis"))) as url,
    ):
        yield url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A connection to an empty Redis."""
    async with connect(redis_url) as connection:
        await connection.flushall()
        yield connection


@pytest.fixture
def sessions(redis: Redis) -> SessionStore:
    """A store in it that reads what is stored, and whose leases outlast a test."""
    return SessionStore(redis, lease_s=30, most_known=0)


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    """The application on it, with an engine that says what it is told."""
    async with serve_live(FakeEngine(renderer), redis_url) as running:
        yield running


@pytest.fixture(scope="module")
async def running(renderer: Renderer, redis_url: str) -> AsyncIterator[Live]:
    """The same, shared by a module's tests: a start takes half a second."""
    async with serve_live(FakeEngine(renderer), redis_url) as shared:
        yield shared


@pytest.fixture
def emptied(running: Live, redis: Redis) -> Live:
    """The shared one with nothing in its store, not even the library."""
    return running


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
