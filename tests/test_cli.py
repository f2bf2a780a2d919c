"""The command line as a user meets it: what it prints, where, and its exit status."""

import os
import pty
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT, STOP_S, Server, environment, free_port


def run(*arguments: str, said: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """`python -m app` with `arguments`, and `said` on its standard input."""
    data_dir = Path(settings.pop("data_dir", "/nonexistent"))
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=ROOT,
        env=environment(data_dir, int(settings.pop("port", "0")), **settings),
        input=said,
        capture_output=True,
        text=True,
        timeout=STOP_S,
        check=False,
    )


def history(client: httpx.Client, session: str) -> list[str]:
    return [message["content"] for message in client.get(f"/sessions/{session}/messages").json()["messages"]]


def newest_session(client: httpx.Client) -> str:
    session: str = client.get("/sessions", params={"limit": 1}).json()["sessions"][0]["id"]
    return session


# keys


def test_keys_prints_a_key_that_the_server_takes() -> None:
    made = run("keys")
    assert (made.returncode, made.stderr) == (0, "")
    [key] = made.stdout.splitlines()
    assert len(key) >= 16


# usage


@pytest.mark.parametrize(
    "arguments", [(), ("sing",), ("chat",), ("serve", "--loudly"), ("chat", "lyra", "--greeting", "x")]
)
def test_wrong_usage_is_told(arguments: tuple[str, ...]) -> None:
    answer = run(*arguments)
    assert answer.returncode == 2
    assert "usage: python -m app" in answer.stderr


def test_help_names_every_command() -> None:
    answer = run("--help")
    assert answer.returncode == 0
    assert all(command in answer.stdout for command in ("serve", "chat", "keys"))


# serve


def test_serve_refuses_a_public_address_without_keys() -> None:
    answer = run("serve", host="0.0.0.0")
    assert answer.returncode == 2
    assert "refusing to listen on 0.0.0.0 without API keys: set OPENCHARACTER_API_KEYS" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_serve_names_the_variable_at_fault() -> None:
    answer = run("serve", lease_s="never", log_level="LOUD")
    assert answer.returncode == 2
    assert [line.partition(":")[0] for line in answer.stderr.splitlines()] == [
        "OPENCHARACTER_LEASE_S",
        "OPENCHARACTER_LOG_LEVEL",
    ]


def test_serve_refuses_a_data_directory_in_use(server: Server) -> None:
    answer = run("serve", data_dir=str(server.data_dir))
    assert answer.returncode == 1
    assert "is in use by another server: stop it, or set OPENCHARACTER_DATA_DIR to another folder" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert httpx.get(f"{server.url}/ready", verify=False).status_code == 200


def test_serve_refuses_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = run("serve", data_dir=str(tmp_path), port=str(port))
    assert answer.returncode == 1
    [told] = answer.stderr.splitlines()
    assert f"port {port} on 127.0.0.1 is in use" in told
    assert "PORT=" in told


def test_serve_refuses_an_address_that_is_not_here(tmp_path: Path) -> None:
    answer = run("serve", data_dir=str(tmp_path), host="192.0.2.1", api_keys="k" * 16)
    assert answer.returncode == 1
    [told] = answer.stderr.splitlines()
    assert "can't listen on 192.0.2.1, port 0 (Cannot assign requested address)" in told


def test_serve_without_redis_says_what_is_missing(tmp_path: Path) -> None:
    answer = run("serve", data_dir=str(tmp_path), redis_url=f"unix://{tmp_path}/no.sock")
    assert answer.returncode == 1
    assert "store is unreachable" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_serve_without_a_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    answer = run("serve", data_dir=str(tmp_path), model=str(tmp_path / "empty"))
    assert answer.returncode == 1
    assert str(tmp_path / "empty") in answer.stderr
    assert "Traceback" not in answer.stderr


# chat


def test_chat_talks_until_its_input_ends(client: httpx.Client, server: Server) -> None:
    answer = run("chat", "lyra", "--url", server.url, "--name", "Mira", said="Hello there.\n\nAnd now?\n")
    assert answer.returncode == 0, answer.stderr
    greeting, first, reply, second, another = history(client, newest_session(client))
    assert (first, second) == ("Hello there.", "And now?")
    shown = answer.stdout
    assert "Lyra Tamm" in shown
    assert greeting.split()[1] in shown
    assert reply.strip() in shown
    assert another.strip() in shown


def test_chat_stops_at_quit(client: httpx.Client, server: Server) -> None:
    answer = run("chat", "lyra", "--url", server.url, said="/quit\nNot said.\n")
    assert answer.returncode == 0
    assert len(history(client, newest_session(client))) == 1


def test_chat_goes_on_with_a_session(client: httpx.Client, server: Server) -> None:
    session = client.post("/sessions", json={"character_id": "lyra"}).json()["id"]
    answer = run("chat", "lyra", "--url", server.url, "--session", session, said="Hello.\n/again\n/history\n")
    assert answer.returncode == 0, answer.stderr
    assert len(history(client, session)) == 3
    assert client.get(f"/sessions/{session}").json()["version"] == 3
    assert answer.stdout.count("Hello.") >= 1


def test_chat_opens_with_the_greeting_asked_for(client: httpx.Client, server: Server) -> None:
    run("chat", "lyra", "--url", server.url, "--greeting", "1")
    assert history(client, newest_session(client))[0].startswith("*The radio crackles")


def test_chat_lists_the_characters(server: Server) -> None:
    answer = run("chat", "?", "--url", server.url)
    assert answer.returncode == 0
    assert "lyra" in answer.stdout
    assert "Lyra Tamm" in answer.stdout


def test_chat_with_nobody_says_so(server: Server) -> None:
    answer = run("chat", "nobody", "--url", server.url)
    assert answer.returncode == 1
    assert "there is no character 'nobody'" in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr


def test_chat_without_a_server_says_what_to_do() -> None:
    answer = run("chat", "lyra", "--url", f"http://127.0.0.1:{free_port()}")
    assert answer.returncode == 1
    assert "make serve" in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr


def test_chat_in_a_terminal_streams_and_leaves_at_ctrl_d(client: httpx.Client, server: Server) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "app", "chat", "lyra", "--url", server.url]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(server.data_dir, 0), stdin=theirs, stdout=theirs, stderr=theirs
    ) as chat:
        os.close(theirs)
        shown = read_until(ours, b"User\x1b[0m: ")
        os.write(ours, b"Hello.\n")
        shown += read_until(ours, b"User\x1b[0m: ")
        os.write(ours, b"\x04")
        assert chat.wait(STOP_S) == 0
    os.close(ours)
    assert b"Lyra Tamm" in shown
    assert len(history(client, newest_session(client))) == 3


def read_until(terminal: int, mark: bytes) -> bytes:
    """What the terminal shows up to `mark`."""
    shown, deadline = b"", time.monotonic() + STOP_S
    while mark not in shown:
        assert time.monotonic() < deadline, shown
        shown += os.read(terminal, 4096)
    return shown
