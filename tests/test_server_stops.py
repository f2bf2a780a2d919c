"""The server is killed or told to stop while somebody talks: no half turn, and what was said is there again."""

import signal
from pathlib import Path

from models.renderer import Renderer
from tests.conftest import FAKE, run_server, wait_until
from tests.processes import contents, create, listening, post, script, stored


def test_server_killed_between_two_turns_loses_nothing(tmp_path: Path, renderer: Renderer) -> None:
    with run_server(tmp_path, FAKE, script()) as server:
        session = create(server)
        post(server, f"{session}/messages", {"content": "Hello."}).raise_for_status()
        before = contents(server, session)
        server.kill()
    assert (tmp_path / "redis" / "redis.sock").exists()
    with run_server(tmp_path, FAKE, script()) as server:
        assert contents(server, session) == before
        answer = post(server, f"{session}/messages", {"content": "Hello again."})
        assert (answer.status_code, answer.json()["version"]) == (200, 3)
    generated = [token for number in range(6) for token in renderer.encode(f"word{number} ")]
    assert stored(tmp_path, session)[0].branch()[2].token_ids == generated


def test_server_killed_in_mid_turn_leaves_no_half_turn(tmp_path: Path) -> None:
    with run_server(tmp_path, FAKE, script(words=2000, gap_s=0.02), lease_s="2") as server:
        session = create(server)
        with listening(server, session) as [listener]:
            server.kill()
            listener.wait_for_end()
        assert listener.broken
    with run_server(tmp_path, FAKE, script(), lease_s="2") as server:
        assert len(contents(server, session)) == 1

        def answered() -> bool:
            return post(server, f"{session}/messages", {"content": "Hello."}).status_code == 200

        wait_until(answered, "the lease has run out", 3)
        assert len(contents(server, session)) == 3


def test_stopped_server_commits_what_is_being_said(tmp_path: Path) -> None:
    with run_server(tmp_path, FAKE, script(words=5000, gap_s=0.02)) as server:
        short, long = create(server), create(server)
        with listening(server, short, max_tokens=40) as [brief], listening(server, long) as [endless]:
            assert server.stop() == 0
            brief.wait_for_end()
            endless.wait_for_end()
    assert brief.lines[-1] == "data: [DONE]"
    finished, interrupted = (session.branch()[-1] for session in stored(tmp_path, short, long))
    assert finished.finish_reason == "stop"
    assert interrupted.finish_reason == "interrupted"
    assert interrupted.content.startswith("word0 word1 word2 ")


def test_ctrl_c_lets_a_reply_end(tmp_path: Path) -> None:
    with run_server(tmp_path, FAKE, script(words=40, gap_s=0.02)) as server:
        session = create(server)
        with listening(server, session) as [listener]:
            server.process.send_signal(signal.SIGINT)
            listener.wait_for_end()
            assert server.process.wait(30) == 0
    assert listener.lines[-1] == "data: [DONE]"
    assert stored(tmp_path, session)[0].branch()[-1].finish_reason == "stop"
