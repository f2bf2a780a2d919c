"""What enters no history of those that OpenAI's clients send: jobs about a chat, and what isn't to be stored."""

import time
from typing import Any

import pytest

from app.api.chat.asides import is_job
from tests.live import Live
from tests.refusals import CHAT
from tests.transcripts import ask, assistant, begin_anew, reply, shows, stored, system, talk, user

SUMMARY = "[Pause the roleplay. Summarize what has happened.]"
TITLE = "### Task:\nGenerate a title.\n### Chat History:\n<chat_history>\nUSER: Hello.\n</chat_history>"


@pytest.fixture
async def live(running: Live) -> Live:
    return await begin_anew(running)


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
