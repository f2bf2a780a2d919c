"""Messages that nobody should send, to whom there isn't, or longer than can be: each gets a clear error."""

import json
from typing import Any

import httpx
import pytest

from tests.refusals import ASK, CHAT, ask, assert_error, assert_error_body

pytestmark = pytest.mark.usefixtures("engine_lives_on")


# What doesn't exist


@pytest.mark.parametrize("character_id", ["nobody", "no%20body", "%00", "%F0%9F%8C%99", "..%2Flyra", "a" * 5000])
def test_unknown_character_is_not_found(client: httpx.Client, character_id: str) -> None:
    responses = [
        client.get(f"/characters/{character_id}"),
        client.put(f"/characters/{character_id}", json={"name": "Odo"}),
        client.patch(f"/characters/{character_id}", json={"name": "Odo"}),
        client.delete(f"/characters/{character_id}"),
    ]
    for response in responses:
        assert_error(response, 404)


def test_session_with_an_unknown_character_is_not_found(client: httpx.Client) -> None:
    answer = client.post("/sessions", json={"character_id": "nobody"})
    assert "'nobody'" in assert_error(answer, 404, code="character_not_found")


@pytest.mark.parametrize("session_id", ["nowhere", "%7B%7D", "%00", "a" * 5000, "*"])
def test_unknown_session_is_not_found(client: httpx.Client, session_id: str) -> None:
    path = f"/sessions/{session_id}"
    responses = [
        client.get(path),
        client.get(f"{path}/messages"),
        client.post(f"{path}/messages", json={"content": "Hello."}),
        client.post(f"{path}/messages", json={"content": "Hello.", "stream": True}),
        client.post(f"{path}/regenerate", json={}),
        client.delete(path),
    ]
    for response in responses:
        assert_error(response, 404, code="session_not_found")


# What doesn't fit


def test_card_too_long_for_the_context_names_both_numbers(client: httpx.Client) -> None:
    long = {"id": "long-card", "name": "Long", "description": "moon " * 6000}
    client.post("/characters", json=long).raise_for_status()
    answers = [
        client.post("/sessions", json={"character_id": "long-card"}),
        ask(client, model="long-card"),
        client.post(CHAT, json=ASK | {"model": "long-card"}, headers={"X-Session-Id": "long"}),
    ]
    for answer in answers:
        message = assert_error(answer, 400, code="context_length_exceeded")
        needed, fitting = (int(word) for word in message.split() if word.isdecimal())
        assert needed > 6000 > 4096 > fitting > 2000
    assert_error(client.get("/sessions/long"), 404)


def test_message_too_long_for_the_context_names_both_numbers(client: httpx.Client) -> None:
    session = client.post("/sessions", json={"character_id": "lyra"}).json()["id"]
    path = f"/sessions/{session}/messages"
    message = assert_error(client.post(path, json={"content": "moon " * 9000}), 400, code="context_length_exceeded")
    assert len([word for word in message.split() if word.isdecimal()]) == 2
    assert len(client.get(path).json()["messages"]) == 1
    assert client.post(path, json={"content": "Hello.", "max_tokens": 2}).status_code == 200


def test_character_that_cannot_be_served_can_be_registered_anyway(client: httpx.Client) -> None:
    answer = client.post("/characters", json={"name": "Very Long", "description": "moon " * 6000})
    assert answer.status_code == 201


# Messages


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": " \n\t "}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": []}],
        [{"role": "user"}],
        [{"role": "system", "content": "You are brief."}],
        [{"role": "system", "content": "You are brief."}, {"role": "user", "content": ""}],
        [{}],
        [{"content": "Hello."}],
        [{"role": 1, "content": "Hello."}],
        [{"role": "user", "content": 1}],
        [{"role": "user", "content": {"text": "Hello."}}],
        [{"role": "user", "content": ["Hello."]}],
        [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "user", "content": [{"type": "text", "text": 1}]}],
        [None],
        ["Hello."],
        "Hello.",
        {"role": "user", "content": "Hello."},
        None,
        [{"role": "user", "content": "a"}] * 10_001,
    ],
    ids=lambda messages: json.dumps(messages)[:60],
)
def test_bad_messages_are_refused(client: httpx.Client, messages: Any) -> None:
    body = assert_error_body(ask(client, messages=messages))
    assert body["param"].startswith("messages")


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "", 7])
def test_content_part_that_is_no_text_is_refused(client: httpx.Client, kind: Any) -> None:
    part = {"type": kind, kind if isinstance(kind, str) else "x": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]
    assert "text alone" in assert_error(ask(client, messages=messages), 400, param="messages")


@pytest.mark.parametrize(
    "content", ["", "  \n", None, 1, [], {}, ["Hello."], "a" * 200_001], ids=lambda c: repr(c)[:12]
)
def test_bad_session_message_is_refused(client: httpx.Client, content: Any) -> None:
    session = client.post("/sessions", json={"character_id": "lyra"}).json()["id"]
    assert_error(client.post(f"/sessions/{session}/messages", json={"content": content}), 400, param="content")
