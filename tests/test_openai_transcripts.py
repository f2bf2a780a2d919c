"""Whole transcripts over OpenAI's surface: what the server keeps of a session, and where it begins a prompt again."""

import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from app.api.chat.asides import is_job
from app.store import transcripts
from app.store.connection import connect
from app.store.transcripts import TranscriptStore
from models.examples import Line
from tests.fake_engine import Script
from tests.live import Live
from tests.refusals import CHAT

Messages = list[dict[str, Any]]
SUMMARY = "[Pause the roleplay. Summarize what has happened.]"
TITLE = "### Task:\nGenerate a title.\n### Chat History:\n<chat_history>\nUSER: Hello.\n</chat_history>"


@pytest.fixture
async def live(running: Live) -> Live:
    """The shared server, with an engine that says words and none of this module's sessions or transcripts."""
    running.engine.script, running.engine.replies = Script(), 0
    running.engine.prompts.clear()
    for session in (await running.client.get("/sessions", params={"limit": 100})).json()["sessions"]:
        await running.client.delete(f"/sessions/{session['id']}")
    for key in await kept_keys(running):
        await running.app.state.redis.delete(key)
    return running


@pytest.fixture
async def live_api(live: Live) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's own client for it."""
    async with AsyncOpenAI(base_url=f"{live.client.base_url}/v1", api_key="none", max_retries=0) as client:
        yield client


async def kept_keys(live: Live) -> list[str]:
    """Where the ids of replies to transcripts are kept."""
    return [key.decode() for key in await live.app.state.redis.keys("oc:{transcript:*")]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


async def ask(live: Live, messages: Messages, key: str | None = "kept", **fields: Any) -> httpx.Response:
    headers = {"X-Session-Id": key} if key else {}
    return await live.client.post(CHAT, json={"model": "lyra", "messages": messages, **fields}, headers=headers)


async def reply(live: Live, messages: Messages, key: str | None = "kept", **fields: Any) -> str:
    answer = (await ask(live, messages, key, **fields)).raise_for_status()
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


async def stored(live: Live, session: str = "kept") -> list[tuple[str, str]]:
    shown = (await live.client.get(f"/sessions/{session}/messages")).raise_for_status().json()["messages"]
    return [(message["role"], message["content"]) for message in shown]


def shows(messages: Messages) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages if message["role"] != "system"]


async def talk(live: Live, turns: int, key: str | None = "kept", **fields: Any) -> Messages:
    """What a client shows after so many turns, each of which sends it all."""
    shown: Messages = []
    for number in range(turns):
        shown.append(user(f"Number {number}: what is out there?"))
        shown.append(assistant(await reply(live, shown, key, **fields)))
    return shown


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


# What enters no history


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        {"messages": [user(TITLE)]},
        {"messages": [system("Be brief."), user(TITLE)]},
        {"messages": [user("Name this chat.")], "task": "title_generation"},
        {"messages": [user("Name this chat.")], "metadata": {"task": "tags_generation"}},
        {"messages": [user("What was that?")], "store": False},
        {"messages": [user("Number 0: what is out there?"), assistant("word0 word1"), system(SUMMARY)]},
    ],
    ids=["title", "instructed", "task", "metadata", "store", "quiet"],
)
async def test_job_about_a_chat_leaves_no_trace(live: Live, body: dict[str, Any]) -> None:
    shown = await talk(live, 2)
    answer = (await ask(live, **body)).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"]
    assert "session_id" not in answer
    assert await stored(live) == shows(shown)
    version = (await live.client.get("/sessions/kept")).json()["version"]
    assert (await ask(live, [*shown, user("And now?")])).json()["version"] == version + 1


@pytest.mark.anyio
async def test_message_that_quotes_the_chat_leaves_no_trace(live: Live) -> None:
    shown = await talk(live, 2)
    quoted = "\n".join(message["content"] for message in shown)
    await reply(live, [user(f"Summarize this:\n{quoted}")])
    assert await stored(live) == shows(shown)


@pytest.mark.anyio
async def test_job_is_asked_of_the_model_and_not_of_the_character(live: Live) -> None:
    await reply(live, [user(TITLE)])
    assert "Lyra" not in live.engine.renderer.decode(live.engine.prompts[-1])
    await reply(live, [user("Hello.")], store=False)
    assert "Lyra" in live.engine.renderer.decode(live.engine.prompts[-1])


@pytest.mark.anyio
async def test_job_opens_no_session(live: Live) -> None:
    await reply(live, [user(TITLE)], "fresh")
    assert (await live.client.get("/sessions/fresh")).status_code == 404


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        {"messages": [user("### Task:\nBring me the <chat_history> of this ship.")]},
        {"messages": [user("Tell me of </chat_history> and <chat_history>.")]},
        {"messages": [user("### Task:\nAnswer by the context.\n<context>The moon is up.</context>\nIs it?")]},
        {"messages": [user("Hello."), system("Be brief.")]},
        {"task": "evaluation"},
        {"metadata": {"task": "chat"}},
        {"task": {"id": 7}},
        {"store": True},
        {"store": "no"},
    ],
    ids=["tag", "tags", "context", "after", "task", "metadata", "object", "stored", "text"],
)
async def test_what_only_looks_like_a_job_is_a_turn(live: Live, body: dict[str, Any]) -> None:
    answer = await ask(live, **{"messages": [user("Hello.")], **body})
    assert answer.raise_for_status().json()["version"] == 2
    assert len(await stored(live)) == 2


@pytest.mark.anyio
async def test_reply_that_was_no_turn_is_taken_in_with_the_next_one(live: Live) -> None:
    shown = await talk(live, 2)
    shown.append(assistant(await reply(live, [*shown, system("[Write the next reply only as Lyra.]")])))
    assert await stored(live) == shows(shown[:-1])
    shown.append(user("And now?"))
    shown.append(assistant(await reply(live, shown)))
    assert await stored(live) == shows(shown)


def test_hostile_message_is_told_from_a_job_at_once() -> None:
    before = time.perf_counter()
    assert not is_job("### Task:" + "<chat_history>" * 100_000)
    assert not is_job("</chat_history>" * 100_000 + "### Task:")
    assert not is_job("#" * 1_000_000)
    assert time.perf_counter() - before < 0.5


@pytest.mark.anyio
async def test_front_ends_chat_goes_on_with_several_characters(live: Live) -> None:
    headers = {"X-OpenWebUI-Chat-Id": "chat"}
    for model in ("lyra", "osbern", "fake"):
        body = {"model": model, "messages": [user("Hello.")]}
        answer = (await live.client.post(CHAT, json=body, headers=headers)).raise_for_status().json()
        assert ("session_id" in answer) == (model == "lyra")
    assert len(await stored(live, "chat")) == 2


@pytest.mark.anyio
async def test_front_end_asks_another_character_while_one_answers(live: Live) -> None:
    headers = {"X-OpenWebUI-Chat-Id": "chat"}
    await live.client.post(CHAT, json={"model": "lyra", "messages": [user("Hello.")]}, headers=headers)
    turn = await live.app.state.turns.sessions.acquire("chat", "turn_of_lyras")
    assert turn.character_id == "lyra"
    asked = {"messages": [user("Hello.")]}
    for model, status in (("osbern", 200), ("lyra", 409)):
        answer = await live.client.post(CHAT, json={"model": model, **asked}, headers=headers)
        assert answer.status_code == status


# Without a session


@pytest.mark.anyio
@pytest.mark.parametrize("model", ["lyra", "fake"])
@pytest.mark.parametrize("stream", [False, True])
async def test_prompts_of_a_growing_transcript_only_grow(live: Live, model: str, stream: bool) -> None:
    shown: Messages = []
    for number in range(5):
        shown.append(user(f"Number {number}."))
        answer = await ask(live, shown, None, model=model, stream=stream)
        said = "".join(f"word{index} " for index in range(6))
        assert ("word5" in answer.text) == (answer.status_code == 200)
        shown.append(assistant(said.strip()))
    prompts = live.engine.prompts
    assert all(after[: len(before)] == before for before, after in pairwise(prompts))
    # What was generated, not what encoding its text would give.
    generated = [token for index in range(6) for token in live.engine.renderer.encode(f"word{index} ")]
    assert live.engine.renderer.encode(said.strip()) != generated
    assert prompts[-1][len(prompts[-2]) :][: len(generated)] == generated


@pytest.mark.anyio
async def test_continued_reply_goes_on_from_its_own_ids(live: Live) -> None:
    shown = await talk(live, 1, None)
    await reply(live, shown, None)
    first, continued = live.engine.prompts
    generated = [token for index in range(6) for token in live.engine.renderer.encode(f"word{index} ")]
    assert continued == first + generated


@pytest.mark.anyio
async def test_reply_that_the_client_has_trimmed_is_continued_to_the_letter(live: Live) -> None:
    shown = await talk(live, 1, None)
    trimmed = shown[1]["content"].strip()
    assert trimmed != shown[1]["content"]
    await reply(live, [shown[0], assistant(trimmed)], None)
    first, continued = live.engine.prompts
    assert continued == first + live.engine.renderer.encode(trimmed)


@pytest.mark.anyio
async def test_ids_of_another_character_or_transcript_are_not_read(live: Live) -> None:
    shown = await talk(live, 1, None)
    text = shown[1]["content"]
    for changed, model in ((shown, "osbern"), ([user("Another beginning."), shown[1]], "lyra")):
        await reply(live, [*changed, user("And now?")], None, model=model)
        prompt = live.engine.renderer.decode(live.engine.prompts[-1])
        assert text.strip() + "<|eot_id|>" in prompt


@pytest.mark.anyio
async def test_store_that_is_full_costs_a_transcript_nothing(live: Live) -> None:
    redis = live.app.state.redis
    await redis.config_set("maxmemory", 1)
    try:
        await talk(live, 1, None, model="fake")
    finally:
        await redis.config_set("maxmemory", 0)
    assert not await kept_keys(live)


@pytest.mark.anyio
async def test_store_that_does_not_answer_costs_a_transcript_little(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcripts, "PATIENCE_S", 0.02)
    shown = await talk(live, 1, None, model="fake")
    await live.app.state.redis.execute_command("CLIENT", "PAUSE", "300", "ALL")
    before = time.perf_counter()
    assert await reply(live, [*shown, user("And now?")], None, model="fake")
    assert time.perf_counter() - before < 0.25
    await live.app.state.redis.ping()


@pytest.mark.anyio
async def test_unreachable_store_knows_nothing() -> None:
    said = [Line("user", "One."), Line("assistant", "Two."), Line("user", "Three.")]
    async with connect("redis://127.0.0.1:1") as nowhere:
        store = TranscriptStore(nowhere)
        await store.keep("scope", said, [("Four.", [1, 2])])
        assert await store.read("scope", said) == {}


@pytest.mark.anyio
async def test_kept_ids_are_in_one_slot_and_expire(live: Live) -> None:
    await talk(live, 3, None)
    keys = await kept_keys(live)
    assert len(keys) == 3
    assert len({key[: key.index("}")] for key in keys}) == 1
    assert all([0 < await live.app.state.redis.ttl(key) <= transcripts.KEPT_S for key in keys])


@pytest.mark.anyio
async def test_ids_that_encoding_gives_are_not_kept(live: Live) -> None:
    live.engine.script.says = ["Hello."]
    await talk(live, 1, None)
    assert not await kept_keys(live)
