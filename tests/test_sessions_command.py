"""Chats from files to a server and back, from the command line."""

from pathlib import Path

import pytest
from anyio import to_thread

from app.__main__ import main
from tests.chats import HEADER, jsonl, parsed, reply, user
from tests.conftest import free_port
from tests.live import Live

pytestmark = pytest.mark.anyio
CHAT = [HEADER, reply("Come in.", "Go away."), user(), reply("One.")]


async def command(live: Live, *arguments: str) -> int:
    """`python -m app sessions …` against a server in this process."""
    return await to_thread.run_sync(main, ["sessions", *arguments, "--url", str(live.client.base_url)])


async def test_chat_comes_in_and_goes_home(live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "chat.jsonl").write_bytes(jsonl(*CHAT) + b"\n{broken")
    asked = ("--character", "lyra", "--name", "Kim", "--user-id", "u1")
    assert await command(live, "import", str(tmp_path / "chat.jsonl"), *asked) == 0
    told, warning = capsys.readouterr().out.splitlines()
    assert told.endswith(", 4 messages")
    assert warning.startswith("  line 5: ")
    session_id = told.split(": ")[1].split(",")[0]
    shown = (await live.client.get(f"/sessions/{session_id}")).json()
    assert (shown["user"]["name"], shown["user_id"]) == ("Kim", "u1")
    assert await command(live, "export", session_id, "--to", str(tmp_path)) == 0
    assert parsed((tmp_path / f"{session_id}.jsonl").read_bytes()) == CHAT
    assert await command(live, "export", session_id, "--branches", "all", "--to", str(tmp_path)) == 0
    assert (tmp_path / f"{session_id}.zip").exists()


async def test_what_fails_is_told_and_the_rest_is_done(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none.txt").write_bytes(b"no chat")
    (tmp_path / "chat.jsonl").write_bytes(jsonl(*CHAT))
    paths = [str(tmp_path / name) for name in ("missing.jsonl", "none.txt", "chat.jsonl")]
    assert await command(live, "import", *paths, "--character", "lyra") == 1
    missing, none, chat = capsys.readouterr().out.splitlines()
    assert missing.endswith("No such file or directory")
    assert "isn't valid JSON" in none
    assert chat.endswith(", 4 messages")
    assert await command(live, "export", "sess_0", "--to", str(tmp_path)) == 1
    assert "there is no session 'sess_0'" in capsys.readouterr().out


def test_without_a_server_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sessions", "export", "sess_0", "--url", f"http://127.0.0.1:{free_port()}"]) == 1
    assert "make serve" in capsys.readouterr().out
