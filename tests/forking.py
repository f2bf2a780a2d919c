"""Servers that are killed again and again: one program that has all modules loaded, and forks a server at a word.

Run as a program (`python -m tests.forking`) it takes the settings of `Settings` as JSON, opens a port, tells it, and
then forks a server on that port for every line that it reads, and tells the process. The port outlives them all.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import httpx

from tests.conftest import ROOT, wait_until

START_S = 60.0


@dataclass
class Forker:
    """The program, the address of its servers, and the one that serves now."""

    url: str
    process: "subprocess.Popen[str]"
    pid: int = 0

    def start(self) -> None:
        """Fork a server, and wait until it is ready."""
        self.pid = int(self._ask())
        wait_until(self._ready, "the forked server is ready", START_S)

    def kill(self) -> None:
        """As `kill -9` does: no goodbye."""
        os.kill(self.pid, signal.SIGKILL)

    def _ask(self) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("fork\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def _ready(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/ready", timeout=1, verify=False).status_code == 200
        return False


@contextmanager
def run_forker(**settings: object) -> Iterator[Forker]:
    """Start the program, without a server yet; it ends with its last one."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forking", json.dumps({"embeddings": "off", **settings})],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        yield Forker(process.stdout.readline().strip(), process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> None:
    """The program."""
    import uvicorn

    from app.main import create_app
    from app.settings import Settings
    from models.renderer import load_renderer
    from tests.conftest import TINY
    from tests.fake_engine import FakeEngine, Script

    settings = Settings.model_validate(json.loads(sys.argv[1]))
    renderer = load_renderer(str(TINY))
    # Whoever connects while no server is there waits for the next one.
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)

    async def open_engine(_: Settings) -> FakeEngine:
        return FakeEngine(renderer, Script(words=4, gap_s=0.001))

    config = uvicorn.Config(create_app(settings, open_engine), http="httptools", lifespan="on", log_config=None)

    def serve() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))

    for _ in sys.stdin:
        if (pid := os.fork()) == 0:
            serve()
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
