"""Several replies to one message: written at once, chosen, deleted, and told in pages."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from app.api.sessions.messages import messages_to_wire
from app.sessions.message import Message
from models.renderer import Renderer
from tests.conversations import new_session
from tests.live import Live
from tests.talks import REPLIES, messages, open_session, post, prompt, say, serve_replies, texts

pytestmark = pytest.mark.anyio


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    async with serve_replies(renderer, redis_url) as running:
        yield running


async def test_n_replies_are_siblings_of_which_the_first_goes_on(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.", n=3)
    assert [message["content"] for message in turn["messages"]] == REPLIES[:3]
    assert turn["message_ids"] == [message["id"] for message in turn["messages"]]
    assert turn["message"] == turn["messages"][0]
    said = await messages(live, session)
    assert [message["content"] for message in said] == ["Hello.", "First reply."]
    assert said[1]["swipe"] == {"index": 0, "count": 3, "previous": None, "next": turn["message_ids"][1]}
    swipes = (await live.client.get(f"{session}/messages/{said[1]['id']}/swipes")).json()["messages"]
    assert [swipe["content"] for swipe in swipes] == REPLIES[:3]


async def test_n_replies_stream_with_all_their_ids(live: Live) -> None:
    session = await open_session(live)
    body = {"content": "Hello.", "n": 2, "stream": True}
    answer = await live.client.post(f"{session}/messages", json=body)
    shown = (await live.client.get(session)).json()
    assert f'"message_ids":["{shown["messages"][1]["id"]}",' in answer.text
    assert '"turn_id":"turn_' in answer.text


async def test_swipe_that_is_selected_is_what_the_next_turn_answers(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.", n=2)
    selected = await post(live, f"{session}/messages/{turn['message_ids'][1]}/select")
    assert selected["message"]["content"] == "Second reply."
    await say(live, session, "And then?")
    assert await texts(live, session) == ["Hello.", "Second reply.", "And then?", "Third reply."]
    assert "Second reply." in prompt(live)
    assert "First reply." not in prompt(live)


async def test_swipe_that_is_not_shown_is_deleted_and_the_branch_stays(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.", n=3)
    await say(live, session, "And then?")
    shown = await texts(live, session)
    swipes = f"{session}/messages/{turn['message_id']}/swipes"
    second = (await live.client.get(swipes)).json()["messages"][1]["id"]
    deleted = await live.client.delete(f"{session}/messages/{second}")
    assert deleted.raise_for_status().json()["message_id"] == (await messages(live, session))[-1]["id"]
    assert await texts(live, session) == shown
    assert [swipe["content"] for swipe in (await live.client.get(swipes)).json()["messages"]] == REPLIES[0:3:2]
    assert (await messages(live, session))[1]["swipe"]["count"] == 2
    assert (await post(live, f"{session}/fork"))["messages"][1]["swipe"]["count"] == 2
    assert REPLIES[1] not in (await live.client.get(f"{session}/export?format=sillytavern")).text


async def test_swipe_that_was_deleted_can_be_chosen_again(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.", n=2)
    swipes = f"{session}/messages/{turn['message_id']}/swipes"
    second = (await live.client.get(swipes)).json()["messages"][1]["id"]
    (await live.client.delete(f"{session}/messages/{second}", params={"following": "true"})).raise_for_status()
    assert await texts(live, session, branch=second) == ["Hello.", REPLIES[1]]
    await post(live, f"{session}/messages/{second}/select")
    assert await texts(live, session) == ["Hello.", REPLIES[1]]
    await post(live, f"{session}/messages/{turn['message_id']}/select")
    assert (await messages(live, session))[1]["swipe"]["count"] == 2


async def test_page_of_many_swipes_is_told_at_once() -> None:
    swipes = [Message(f"msg_{number:05}", None, "assistant", "Well.", [1], created=number) for number in range(20_000)]
    session = replace(new_session(), messages={swipe.id: swipe for swipe in swipes}, tip=swipes[0].id)
    began = time.perf_counter()
    told = await messages_to_wire(session, swipes[-1000:])
    # Looked up one by one they are ten seconds of work, for which every stream waits.
    assert time.perf_counter() - began < 1
    assert told[0]["swipe"] == {"index": 19_000, "count": 20_000, "previous": "msg_18999", "next": "msg_19001"}
    assert told[-1]["swipe"]["next"] is None
