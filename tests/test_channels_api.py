"""Thoughts and actions as clients ask for them: as written, beside the speech, or left out; stored as written."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from models.engine import EngineError
from models.renderer import Renderer
from tests.fake_engine import FakeEngine, Script
from tests.live import Live, serve_live
from tests.refusals import CHAT, assert_error

REPLY = "*glances at the door* I'm Lyra. [He is late.] (sits down) It stays with me, like rain on a coat, and it (never"
SPEECH = "I'm Lyra. It stays with me, like rain on a coat, and it (never"
BESIDE = {"thoughts": ["He is late."], "actions": ["glances at the door", "sits down"]}
VIEWS = ("show", "separate", "hide")
SEEN: dict[str, dict[str, Any]] = {
    "show": {"content": REPLY},
    "separate": {"content": SPEECH, **BESIDE},
    "hide": {"content": SPEECH},
}
HELLO: dict[str, Any] = {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}]}


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    """A server whose characters always give the same reply."""
    async with serve_live(FakeEngine(renderer, Script(says=[REPLY])), redis_url) as running:
        yield running


async def open_session(live: Live, **fields: Any) -> str:
    answer = await live.client.post("/sessions", json={"character_id": "lyra", **fields})
    return f"/sessions/{answer.raise_for_status().json()['id']}"


async def said(live: Live, session: str, **query: Any) -> list[dict[str, Any]]:
    answer = await live.client.get(f"{session}/messages", params=query)
    messages: list[dict[str, Any]] = answer.raise_for_status().json()["messages"]
    return messages


def deltas(answer: httpx.Response, index: int = 0) -> list[tuple[str, str]]:
    """What choice `index` was told, neighbouring deltas of speech as one."""
    assert answer.status_code == 200, answer.text
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    choices = [choice for line in lines[:-1] for choice in json.loads(line)["choices"] if choice["index"] == index]
    told: list[tuple[str, str]] = []
    for choice in choices:
        for kind, text in choice["delta"].items():
            if told and told[-1][0] == kind == "content":
                told[-1] = (kind, told[-1][1] + text)
            elif text and kind != "role":
                told.append((kind, text))
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]
    assert choices[-1]["finish_reason"] == "stop"
    return told


def streamed(view: str) -> list[tuple[str, str]]:
    """What a stream with `view` tells of REPLY."""
    if view == "show":
        return [("content", REPLY)]
    if view == "hide":
        return [("content", SPEECH)]
    return [
        ("action", "glances at the door"),
        ("content", "I'm Lyra."),
        ("thought", "He is late."),
        ("action", "sits down"),
        ("content", SPEECH.removeprefix("I'm Lyra.")),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("view", VIEWS)
async def test_session_shows_channels_as_asked_and_stores_the_text(live: Live, view: str) -> None:
    session = await open_session(live)
    answer = await live.client.post(f"{session}/messages", json={"content": "Hello.", "channels": view})
    message = answer.raise_for_status().json()["message"]
    assert message == {"id": message["id"], "role": "assistant", "finish_reason": "stop", **SEEN[view]}
    again = await live.client.post(f"{session}/regenerate", json={"channels": view})
    assert SEEN[view].items() <= again.raise_for_status().json()["message"].items()
    assert (await said(live, session))[-1]["content"] == REPLY


@pytest.mark.anyio
@pytest.mark.parametrize("view", VIEWS)
async def test_session_streams_channels_as_asked(live: Live, view: str) -> None:
    session = await open_session(live)
    body = {"content": "Hello.", "channels": view, "stream": True}
    assert deltas(await live.client.post(f"{session}/messages", json=body)) == streamed(view)
    assert (await said(live, session))[-1]["content"] == REPLY


@pytest.mark.anyio
@pytest.mark.parametrize("view", VIEWS)
async def test_messages_are_read_with_the_channels_asked_for(live: Live, view: str) -> None:
    session = await open_session(live, greeting="*waves* Good morning.")
    await live.client.post(f"{session}/messages", json={"content": "*waves* (back)"})
    greeting, mine, reply = await said(live, session, channels=view)
    assert mine["content"] == "*waves* (back)"
    assert "actions" not in mine
    assert SEEN[view].items() <= reply.items()
    assert reply.keys() == {"id", "role", "finish_reason", *SEEN[view]}
    assert greeting["content"] == ("*waves* Good morning." if view == "show" else "Good morning.")
    whole = (await live.client.get(session, params={"channels": view})).raise_for_status().json()
    assert whole["messages"] == [greeting, mine, reply]


@pytest.mark.anyio
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("model", ["lyra", "fake"])
async def test_completion_shows_channels_as_asked(live: Live, view: str, model: str) -> None:
    answer = await live.client.post(CHAT, json=HELLO | {"model": model, "channels": view})
    [choice] = answer.raise_for_status().json()["choices"]
    assert choice["message"] == {"role": "assistant", "refusal": None, **SEEN[view]}
    streaming = await live.client.post(CHAT, json=HELLO | {"model": model, "channels": view, "stream": True})
    assert deltas(streaming) == streamed(view)


@pytest.mark.anyio
@pytest.mark.parametrize("view", ["separate", "hide"])
@pytest.mark.parametrize("model", ["lyra", "fake", "session"])
async def test_thought_that_was_begun_is_none_of_the_speech(live: Live, view: str, model: str) -> None:
    live.engine.script.says = [" him.] Welcome!"]
    headers = {"X-Session-Id": f"s-{view}"} if model == "session" else {}
    messages = [*HELLO["messages"], {"role": "assistant", "content": "[I hate"}]
    body = {"model": "lyra" if model == "session" else model, "messages": messages, "channels": view}
    answer = await live.client.post(CHAT, json=body, headers=headers)
    message = answer.raise_for_status().json()["choices"][0]["message"]
    assert message["content"] == "Welcome!"
    assert message.get("thoughts") == (["him."] if view == "separate" else None)
    streaming = await live.client.post(CHAT, json=body | {"stream": True}, headers=headers)
    told = [("content", "Welcome!")]
    assert deltas(streaming) == ([("thought", "him."), *told] if view == "separate" else told)


@pytest.mark.anyio
async def test_what_was_held_back_comes_before_the_error(live: Live) -> None:
    live.engine.script = Script(says=["Well. (" + "x" * 60], fail_after=2, failure=EngineError("scripted"))
    session = await open_session(live)
    body = {"content": "Hello.", "channels": "hide", "stream": True}
    answer = await live.client.post(f"{session}/messages", json=body)
    *frames, error, done = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert (done, json.loads(error)["error"]["code"]) == ("[DONE]", "engine_error")
    sent = "".join(choice["delta"]["content"] for frame in frames for choice in json.loads(frame)["choices"])
    assert sent == (await said(live, session))[-1]["content"] == "Well. (" + "x" * 60


@pytest.mark.anyio
async def test_openai_client_reads_the_speech(live: Live) -> None:
    from openai import AsyncOpenAI  # takes a second to import

    base_url = str(live.client.base_url.join("/v1"))
    async with AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, _strict_response_validation=True) as api:
        ask: dict[str, Any] = HELLO | {"extra_body": {"channels": "separate"}}
        message = (await api.chat.completions.create(**ask)).choices[0].message
        chunks = [chunk async for chunk in await api.chat.completions.create(**ask, stream=True)]
    assert message.content == SPEECH
    assert (message.model_extra or {}) == BESIDE
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == SPEECH


@pytest.mark.anyio
async def test_each_choice_has_channels_of_its_own(live: Live) -> None:
    live.engine.script.says = [REPLY, "(waves) [Hm.] Hello there.", "Only speech."]
    body = HELLO | {"n": 3, "channels": "separate"}
    answer = await live.client.post(CHAT, json=body)
    first, second, third = (choice["message"] for choice in answer.raise_for_status().json()["choices"])
    assert SEEN["separate"].items() <= first.items()
    assert (second["content"], second["thoughts"], second["actions"]) == ("Hello there.", ["Hm."], ["waves"])
    assert (third["content"], third["thoughts"], third["actions"]) == ("Only speech.", [], [])
    streaming = await live.client.post(CHAT, json=body | {"stream": True})
    assert deltas(streaming) == streamed("separate")
    assert deltas(streaming, 1) == [("action", "waves"), ("thought", "Hm."), ("content", "Hello there.")]
    assert deltas(streaming, 2) == [("content", "Only speech.")]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_null_shows_the_text_as_it_is(live: Live, stream: bool) -> None:
    asked, plain = [
        await live.client.post(CHAT, json=HELLO | {"stream": stream} | fields) for fields in ({"channels": None}, {})
    ]
    if stream:
        assert deltas(asked) == deltas(plain) == streamed("show")
    else:
        assert asked.json()["choices"] == plain.json()["choices"]


@pytest.mark.anyio
@pytest.mark.parametrize("channels", ["", "all", "SHOW", 1, ["show"], {"thought": True}, True])
async def test_unknown_channels_are_refused(live: Live, channels: Any) -> None:
    session = await open_session(live)
    for path, body in ((CHAT, HELLO), (f"{session}/messages", {"content": "Hello."}), (f"{session}/regenerate", {})):
        answer = await live.client.post(path, json=body | {"channels": channels})
        assert "show" in assert_error(answer, 400, param="channels")


@pytest.mark.anyio
async def test_unknown_channels_of_messages_are_refused(live: Live) -> None:
    session = await open_session(live)
    answer = await live.client.get(f"{session}/messages", params={"channels": "all"})
    assert "separate" in assert_error(answer, 400)


@pytest.mark.anyio
@pytest.mark.parametrize("view", ["separate", "hide"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logprobs", True),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": {}}}),
        ("structured_outputs", {"json": {"type": "object"}}),
    ],
)
async def test_what_channels_would_spoil_is_refused(live: Live, view: str, field: str, value: Any) -> None:
    answer = await live.client.post(CHAT, json=HELLO | {"channels": view, field: value})
    assert "leave them out" in assert_error(answer, 400)
    shown = await live.client.post(CHAT, json=HELLO | {"channels": "show", field: value})
    assert shown.status_code == 200


@pytest.mark.anyio
async def test_interrupted_reply_is_stored_as_it_was_written(live: Live) -> None:
    live.engine.script.hold_after = 1
    session = await open_session(live)
    body = {"content": "Hello.", "channels": "hide", "stream": True}
    async with live.client.stream("POST", f"{session}/messages", json=body) as response:
        async for line in response.aiter_lines():
            if "I'm Lyra." in line:
                break
    while len(messages := await said(live, session)) < 3:
        pass
    assert messages[-1]["finish_reason"] == "interrupted"
    assert REPLY.startswith(messages[-1]["content"])
    assert messages[-1]["content"].startswith("*glances at the door* I'm")
