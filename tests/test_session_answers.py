"""What clients rely on: the names under a session, and that every answer says where it leaves the session."""

import json
from typing import Any

import httpx
import pytest

from tests.fake_engine import Script
from tests.faults import open_session
from tests.live import Live
from tests.resumable import ending, numbers

pytestmark = pytest.mark.anyio

NAMES = {
    ("post", "/sessions"),
    ("post", "/sessions/import"),
    ("post", "/sessions/{session_id}/messages"),
    ("get", "/sessions/{session_id}/messages"),
    ("post", "/sessions/{session_id}/regenerate"),
    ("post", "/sessions/{session_id}/continue"),
    ("post", "/sessions/{session_id}/impersonate"),
    ("patch", "/sessions/{session_id}/messages/{message_id}"),
    ("delete", "/sessions/{session_id}/messages/{message_id}"),
    ("post", "/sessions/{session_id}/messages/{message_id}/select"),
    ("post", "/sessions/{session_id}/fork"),
    ("post", "/sessions/{session_id}/undo"),
    ("post", "/sessions/{session_id}/auto"),
    ("get", "/sessions/{session_id}/turns/{turn_id}/stream"),
    ("post", "/sessions/{session_id}/turns/{turn_id}/cancel"),
    ("get", "/sessions/{session_id}/memories"),
    ("post", "/sessions/{session_id}/memories"),
    ("get", "/sessions/{session_id}/memories/{memory_id}"),
    ("patch", "/sessions/{session_id}/memories/{memory_id}"),
    ("delete", "/sessions/{session_id}/memories/{memory_id}"),
    ("get", "/sessions/{session_id}/export"),
}
TURNS: dict[str, dict[str, Any]] = {
    "messages": {"content": "Hello."},
    "regenerate": {},
    "continue": {},
    "impersonate": {},
}
CHANGES: dict[str, dict[str, Any]] = {
    "PATCH messages/{message_id}": {"content": "Otherwise."},
    "DELETE messages/{message_id}": {},
    "POST messages/{message_id}/select": {},
    "POST undo": {},
    "POST checkpoints/here/restore": {},
}


async def begin(live: Live) -> tuple[str, str]:
    """A session's path, and a reply in it."""
    live.engine.script = Script(words=6)
    session = await open_session(live)
    told = (await live.client.post(f"{session}/messages", json={"content": "Hello."})).raise_for_status().json()
    (await live.client.put(f"{session}/checkpoints/here", json={})).raise_for_status()
    return session, told["message_id"]


async def check(live: Live, session: str, told: dict[str, Any]) -> None:
    """That an answer says where it was written, and that it is the session's last."""
    now = (await live.client.get(session)).raise_for_status().json()
    assert (told["session_id"], told["version"]) == (now["id"], now["version"])
    assert told["turn_id"].startswith("turn_")
    assert told["message_id"] in {message["id"] for message in now["messages"]}


async def test_names_under_a_session_are_served(running: Live) -> None:
    paths = (await running.client.get("/openapi.json")).raise_for_status().json()["paths"]
    assert {(method, path) for path, methods in paths.items() for method in methods} >= NAMES


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("kind", TURNS)
async def test_turn_says_where_it_leaves_the_session(running: Live, kind: str, stream: bool) -> None:
    session, _ = await begin(running)
    answer = await running.client.post(f"{session}/{kind}", json=TURNS[kind] | {"stream": stream})
    await check(running, session, ending(answer.raise_for_status().text) if stream else answer.json())


@pytest.mark.parametrize("change", CHANGES)
async def test_change_says_where_it_leaves_the_session(running: Live, change: str) -> None:
    session, message_id = await begin(running)
    method, _, path = change.partition(" ")
    body = CHANGES[change]
    answer: httpx.Response = await running.client.request(
        method, f"{session}/{path.format(message_id=message_id)}", json=body or None
    )
    await check(running, session, answer.raise_for_status().json())


async def test_each_turn_among_themselves_says_it_too(running: Live) -> None:
    session, _ = await begin(running)
    answer = await running.client.post(f"{session}/auto", json={"turns": 2})
    first, last = answer.raise_for_status().json()["turns"]
    assert last["version"] == first["version"] + 1
    await check(running, session, last)


@pytest.mark.parametrize("kind", TURNS)
async def test_frames_of_a_resumable_turn_are_numbered(running: Live, kind: str) -> None:
    session, _ = await begin(running)
    body = TURNS[kind] | {"stream": True, "resumable": True}
    answer = await running.client.post(f"{session}/{kind}", json=body)
    assert numbers(answer.raise_for_status().text) == [*range(1, len(numbers(answer.text)) + 1)]
    assert len(numbers(answer.text)) > 6
    assert json.dumps(answer.headers["x-turn-id"]) in answer.text
