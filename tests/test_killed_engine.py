"""The engine's process is killed while it speaks in several sessions: everybody is told, and nothing spoken is lost."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.conftest import FAKE, Server, is_running, run_server, wait_until
from tests.faults import assert_error_frames
from tests.processes import create, descendants, listening, named, post, script, stored


@dataclass(frozen=True)
class Wreck:
    """What was seen when the engine of a server was killed while it spoke in several sessions."""

    data_dir: Path
    sessions: list[str]
    streams: list[list[str]]
    health: list[int]
    status: int
    family: list[int]


@pytest.fixture(scope="module")
def wreck(tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    data_dir = tmp_path_factory.mktemp("wreck")
    with run_server(data_dir) as server:
        sessions = [create(server) for _ in range(6)]
        family = descendants(server.process.pid)
        with listening(server, *sessions, max_tokens=3000, ignore_eos=True) as listeners:
            os.kill(named(family, "VLLM::EngineCore"), signal.SIGKILL)
            health = list(probe(server))
            for listener in listeners:
                listener.wait_for_end()
        return Wreck(
            data_dir, sessions, [listener.lines for listener in listeners], health, server.process.wait(30), family
        )


def probe(server: Server) -> Iterator[int]:
    """The statuses of `/health` for as long as anybody answers."""
    while server.process.poll() is None:
        try:
            yield httpx.get(f"{server.url}/health", verify=False).status_code
        except httpx.TransportError:
            return


def test_killed_engine_ends_every_stream_with_an_error_frame(wreck: Wreck) -> None:
    for lines in wreck.streams:
        assert_error_frames(lines, "engine_dead")


def test_killed_engine_is_never_called_healthy_again(wreck: Wreck) -> None:
    assert set(wreck.health) <= {200, 503}
    assert wreck.health == sorted(wreck.health)


def test_killed_engine_ends_the_server(wreck: Wreck) -> None:
    assert wreck.status == 1


def test_killed_engine_leaves_no_process(wreck: Wreck) -> None:
    wait_until(lambda: not any(map(is_running, wreck.family)), "all of the server's processes are gone")


def test_killed_engine_keeps_what_was_spoken(wreck: Wreck) -> None:
    for session in stored(wreck.data_dir, *wreck.sessions):
        reply = session.branch()[-1]
        assert (reply.role, reply.finish_reason) == ("assistant", "interrupted")
        assert reply.content


def test_server_after_a_killed_engine_serves_its_sessions(wreck: Wreck) -> None:
    with run_server(wreck.data_dir, FAKE, script()) as server:
        for session in wreck.sessions:
            assert post(server, f"{session}/messages", {"content": "Again."}).json()["version"] == 3
