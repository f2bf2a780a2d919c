"""Replies that are continued, and lines that are written for the user."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from models.renderer import Renderer
from tests.fake_engine import Script
from tests.live import Live
from tests.talks import all_messages, messages, open_session, post, prompt, say, serve_replies, texts

pytestmark = pytest.mark.anyio


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    async with serve_replies(renderer, redis_url) as running:
        yield running


async def test_continue_goes_on_from_the_exact_tokens_and_keeps_the_reply_before(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.")
    longer = await post(live, f"{session}/continue")
    assert longer["message"]["content"] == "First reply.Second reply."
    assert prompt(live).endswith("First reply.")
    assert live.engine.params[-1].min_tokens == 1
    stored = {message.id: message for message in await all_messages(live, session)}
    ids = stored[turn["message_id"]].token_ids
    assert stored[longer["message_id"]].token_ids[: len(ids)] == ids
    assert await texts(live, session) == ["Hello.", "First reply.Second reply."]
    assert (await messages(live, session))[1]["swipe"]["count"] == 2


async def test_greeting_can_be_continued(live: Live) -> None:
    session = await open_session(live, greeting="Rain again")
    longer = await post(live, f"{session}/continue")
    assert longer["message"]["content"] == "Rain againFirst reply."
    assert (await messages(live, session))[0]["swipe"]["count"] == 2


async def test_continue_that_says_nothing_more_writes_nothing(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.")
    live.engine.script = Script(says=[""])
    again = await post(live, f"{session}/continue")
    assert again["message"] == turn["message"]
    assert (again["version"], again["message_id"]) == (turn["version"], turn["message_id"])
    await say(live, session, "The session is free again.")


async def test_impersonate_writes_the_users_line_which_regenerate_answers(live: Live) -> None:
    session = await open_session(live, user={"name": "Ann"})
    await say(live, session, "Hello.")
    line = await post(live, f"{session}/impersonate", content="Well, ")
    assert line["message"]["role"] == "user"
    assert line["message"]["content"] == "Well, Second reply."
    assert "what Ann says next" in prompt(live)
    answer = await post(live, f"{session}/regenerate")
    assert answer["message"]["content"] == "Third reply."
    assert [message["role"] for message in await messages(live, session)] == ["user", "assistant", "user", "assistant"]
    assert "what Ann says next" not in prompt(live)


async def test_users_line_is_no_part_of_the_reply_before_it(live: Live) -> None:
    session = await open_session(live, user={"name": "Ann"})
    await say(live, session, "Hello.")
    await post(live, f"{session}/impersonate")
    reply, _, request = prompt(live).rpartition("First reply.")
    assert reply
    assert request.startswith("<|eot_id|>")
    assert "what Ann says next" in request
    assert request.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")
