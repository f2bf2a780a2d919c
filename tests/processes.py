"""What tests of a server's process share: clients in threads of their own, and what it leaves behind."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from app.sessions.session import Session
from app.store.connection import connect
from app.store.embedded import embedded_redis
from app.store.sessions import SessionStore
from tests.conftest import Server, wait_until

LEASE_S = 1.0


def script(**fields: Any) -> str:
    """What the fake engine of a server process is to say."""
    return json.dumps(fields)


def post(server: Server, path: str, body: dict[str, Any], timeout_s: float = 30) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, timeout=timeout_s, verify=False)


def create(server: Server) -> str:
    return f"/sessions/{post(server, '/sessions', {'character_id': 'lyra'}).json()['id']}"


def contents(server: Server, session: str) -> list[tuple[str, str | None]]:
    messages = httpx.get(f"{server.url}{session}/messages", verify=False).json()["messages"]
    return [(message["content"], message.get("finish_reason")) for message in messages]


@dataclass
class Listener:
    """A client in a thread of its own that reads a stream to its end, or until it breaks."""

    server: Server
    path: str
    body: dict[str, Any]
    lines: list[str] = field(default_factory=list)
    broken: bool = False

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            with httpx.stream(
                "POST", f"{self.server.url}{self.path}", json=self.body, timeout=120, verify=False
            ) as answer:
                self.lines.extend(line for line in answer.iter_lines() if line)
        except httpx.HTTPError:
            self.broken = True

    def wait_for_words(self) -> None:
        wait_until(lambda: len(self.lines) > 2, "the stream speaks", 60)

    def wait_for_end(self, timeout_s: float = 30) -> None:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the stream hasn't ended"


@contextmanager
def listening(server: Server, *sessions: str, **fields: Any) -> Iterator[list[Listener]]:
    """Streams under way on each of the sessions, past their first words."""
    body = {"content": "Hello.", "stream": True, **fields}
    listeners = [Listener(server, f"{session}/messages", body) for session in sessions]
    for listener in listeners:
        listener.wait_for_words()
    yield listeners


def stored(data_dir: Path, *sessions: str) -> list[Session]:
    """The sessions as a stopped server has left them."""

    async def read() -> list[Session]:
        async with embedded_redis(data_dir / "redis") as url, connect(url) as redis:
            store = SessionStore(redis, LEASE_S)
            return [await store.get(session.rpartition("/")[2]) for session in sessions]

    return asyncio.run(read())


def descendants(pid: int) -> list[int]:
    """The processes below `pid`."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [*children, *(below for child in children for below in descendants(child))]


def named(pids: list[int], name: str) -> int:
    """The one of them whose command line starts so."""
    [found] = [pid for pid in pids if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(name.encode())]
    return found
