"""The real thing, once for all tests: a server process on the tiny model with a redis-server of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from models.renderer import Renderer, load_renderer

ROOT = Path(__file__).parent.parent
TINY = ROOT / "models" / "tiny"
START_S = 120.0


@dataclass(frozen=True)
class Server:
    """A server process: where it listens, who it is, where its data lies."""

    url: str
    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
            try:
                if httpx.get(f"{self.url}/ready", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise TimeoutError(f"the server isn't ready after {START_S} s:\n{self.log.read_text()[-4000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def run_server(data_dir: Path, **settings: str) -> Iterator[Server]:
    """Start `python -m app serve` as a user would, wait until it is ready, and stop it at the end."""
    data_dir.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), data_dir / "server.log"
    environment = os.environ | {
        "OPENCHARACTER_PORT": str(port),
        "OPENCHARACTER_DATA_DIR": str(data_dir),
        "OPENCHARACTER_MODEL": "models/tiny",
        **{f"OPENCHARACTER_{name.upper()}": value for name, value in settings.items()},
    }
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"], cwd=ROOT, env=environment, stdout=out, stderr=out
        )
    server = Server(f"http://127.0.0.1:{port}", process, data_dir, log)
    try:
        server.wait_until_ready()
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that tests share; those that hurt one start their own."""
    with run_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as connection:
        yield connection


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    return load_renderer(str(TINY))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
