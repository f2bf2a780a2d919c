"""Whole transcripts over OpenAI's surface: what the server keeps of a session, and by which key it finds it."""

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.live import Live
from tests.refusals import CHAT
from tests.transcripts import ask, assistant, begin_anew, reply, shows, stored, system, talk, user


@pytest.fixture
async def live(running: Live) -> Live:
    return await begin_anew(running)


@pytest.fixture
async def live_api(live: Live) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's own client for it."""
    async with AsyncOpenAI(base_url=f"{live.client.base_url}/v1", api_key="none", max_retries=0) as client:
        yield client


# Sessions


@pytest.mark.anyio
async def test_client_chats_swipes_edits_and_continues(live: Live, live_api: AsyncOpenAI) -> None:
    live.engine.script.says = [f"Reply {number}, and the moon is up." for number in range(20)]
    shown: Any = [system("You are far out at sea.")]

    async def send(messages: Any) -> str:
        chunks = await live_api.chat.completions.create(
            model="lyra", messages=messages, stream=True, extra_headers={"X-Session-Id": "kept"}
        )
        deltas = [chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices]
        return "".join(deltas)

    for number in range(5):
        shown.append(user(f"Number {number}."))
        shown.append(assistant(await send(shown)))
    assert await stored(live) == shows(shown)
    swiped = await send(shown[:-1])
    assert swiped != shown[-1]["content"]
    shown[-1] = assistant(swiped)
    assert await stored(live) == shows(shown)
    shown[5] = user("Number 2, said otherwise.")
    shown.append(user("Number 5."))
    shown.append(assistant(await send(shown)))
    assert await stored(live) == shows(shown)
    shown[-1] = assistant(shown[-1]["content"] + await send(shown))
    assert await stored(live) == shows(shown)
    assert shown[-1]["content"].count("the moon is up.") == 2


@pytest.mark.anyio
async def test_retried_request_adds_no_message_of_the_users(live: Live) -> None:
    shown = await talk(live, 3)
    for _ in range(2):
        await reply(live, shown[:-1])
    assert await stored(live) == shows(shown)
    [session] = (await live.client.get("/sessions")).json()["sessions"]
    assert len((await live.app.state.turns.sessions.get(session["id"])).messages) == len(shown) + 2


@pytest.mark.anyio
async def test_sessions_prompts_only_grow(live: Live) -> None:
    await talk(live, 6)
    assert all(after[: len(before)] == before for before, after in pairwise(live.engine.prompts))


@pytest.mark.anyio
async def test_choices_of_a_session_are_siblings(live: Live) -> None:
    live.engine.script.says = ["One.", "Two.", "Three."]
    answer = (await ask(live, [user("Hello.")], n=3)).json()
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["One.", "Two.", "Three."]
    assert len(answer["message_ids"]) == 3
    live.engine.script.says = ["Four."]
    shown = [user("Hello."), assistant("Two."), user("Go on.")]
    assert await reply(live, shown) == "Four."
    assert await stored(live) == [*shows(shown), ("assistant", "Four.")]


@pytest.mark.anyio
async def test_client_that_hides_thoughts_shows_the_same_session(live: Live) -> None:
    live.engine.script.says = ["*smiles* Hello, you.", "(I am tired.) Good night."]
    shown = await talk(live, 2, channels="hide")
    assert [message["content"] for message in shown[1::2]] == ["Hello, you.", "Good night."]
    assert [text for _, text in (await stored(live))[1::2]] == ["*smiles* Hello, you.", "(I am tired.) Good night."]


# Keys


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("headers", "body", "name"),
    [
        ({"X-Session-Id": "a", "X-OpenWebUI-Chat-Id": "b"}, {"metadata": {"chat_id": "c"}, "session_id": "d"}, "a"),
        ({"X-OpenWebUI-Chat-Id": "b"}, {"metadata": {"chat_id": "c"}, "session_id": "d"}, "b"),
        ({"X-Session-Id": ""}, {"metadata": {"chat_id": "c"}, "session_id": "d"}, "c"),
        ({}, {"metadata": {"chat_id": None}, "session_id": "d"}, "d"),
    ],
)
async def test_session_is_named_by_the_first_key(
    live: Live, headers: dict[str, str], body: dict[str, Any], name: str
) -> None:
    asked = {"model": "lyra", "messages": [user("Hello.")], **body}
    answer = (await live.client.post(CHAT, json=asked, headers=headers)).raise_for_status().json()
    assert answer["session_id"] == name
    assert len(await stored(live, name)) == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"session_id": "no/slash"}, "session_id"),
        ({"session_id": 7}, "session_id"),
        ({"session_id": ["a"]}, "session_id"),
        ({"metadata": {"chat_id": "x" * 129}}, "metadata.chat_id"),
        ({"metadata": {"chat_id": {}}}, "metadata.chat_id"),
    ],
)
async def test_key_that_can_be_no_id_is_refused(live: Live, body: dict[str, Any], param: str) -> None:
    answer = await ask(live, [user("Hello.")], None, **body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


@pytest.mark.anyio
@pytest.mark.parametrize("metadata", ["text", 7, [], {"user": "x"}, None])
async def test_other_metadata_names_no_session(live: Live, metadata: Any) -> None:
    answer = (await ask(live, [user("Hello.")], None, metadata=metadata)).raise_for_status()
    assert "session_id" not in answer.json()
