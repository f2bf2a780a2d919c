"""A turn from end to end: streamed, in JSON, remembered, regenerated."""

import json
from typing import Any

import httpx


def open_session(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post("/sessions", json={"character_id": "lyra", **fields})
    assert answer.status_code == 201, answer.text
    session: dict[str, Any] = answer.json()
    return session


def frames(response: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_session_streams_and_remembers(client: httpx.Client) -> None:
    session = open_session(client)
    with client.stream(
        "POST", f"/sessions/{session['id']}/messages", json={"content": "Who are you?", "stream": True}
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        received = frames(response)
    text = "".join(choice["delta"].get("content", "") for frame in received for choice in frame["choices"])
    finished = next(frame for frame in received if frame["choices"] and frame["choices"][0]["finish_reason"])
    assert text
    assert finished["session_id"] == session["id"]
    assert finished["version"] == 2
    messages = client.get(f"/sessions/{session['id']}/messages").json()["messages"]
    assert [message["role"] for message in messages] == ["assistant", "user", "assistant"]
    assert messages[-1]["content"] == text
    assert messages[-1]["id"] == finished["message_id"]


def test_second_turn_reads_the_first_from_the_cache(client: httpx.Client) -> None:
    session = open_session(client)
    path = f"/sessions/{session['id']}/messages"
    client.post(path, json={"content": "Hello there."}).raise_for_status()
    usage = client.post(path, json={"content": "And how are you?"}).json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] >= usage["prompt_tokens"] * 0.7


def test_regenerate_keeps_the_reply_before(client: httpx.Client) -> None:
    session = open_session(client)
    first = client.post(f"/sessions/{session['id']}/messages", json={"content": "Tell me something."}).json()
    second = client.post(f"/sessions/{session['id']}/regenerate", json={"seed": 7}).json()
    shown = client.get(f"/sessions/{session['id']}").json()["messages"]
    assert len(shown) == 3
    assert shown[-1]["id"] == second["message"]["id"] != first["message"]["id"]
    assert second["version"] == first["version"] + 1
