"""A session as a tree: branches, edit, delete, undo, fork, checkpoints, over real sockets."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app.sessions import tree
from models.renderer import Renderer
from tests.fake_engine import Script
from tests.live import Live
from tests.refusals import assert_error
from tests.talks import all_messages, messages, open_session, post, prompt, say, serve_replies, texts

pytestmark = pytest.mark.anyio


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    async with serve_replies(renderer, redis_url) as running:
        yield running


async def test_every_reply_tells_where_it_was_written(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.")
    assert turn["turn_id"].startswith("turn_")
    assert (turn["version"], turn["message_id"]) == (2, turn["message"]["id"])


async def test_branch_is_read_through_any_of_its_messages(live: Live) -> None:
    session = await open_session(live)
    first = await say(live, session, "Hello.")
    await say(live, session, "And then?")
    other = await post(live, f"{session}/messages/{first['message_id']}/select", following=False)
    assert other["message_id"] == first["message_id"]
    await say(live, session, "Never mind.")
    assert await texts(live, session) == ["Hello.", "First reply.", "Never mind.", "Third reply."]
    # Through a message that both have the branch is the active one.
    assert (await texts(live, session, branch=first["message_id"]))[2] == "Never mind."
    left = next(message for message in await all_messages(live, session) if message.content == "And then?")
    assert await texts(live, session, branch=left.id) == ["Hello.", "First reply.", "And then?", "Second reply."]
    back = await post(live, f"{session}/messages/{left.id}/select")
    assert back["message"]["content"] == "Second reply."


async def test_edit_keeps_what_follows_and_what_was(live: Live) -> None:
    session = await open_session(live)
    await say(live, session, "Hello.")
    await say(live, session, "And then?")
    before = await messages(live, session)
    answer = await live.client.patch(f"{session}/messages/{before[0]['id']}", json={"content": "Good day."})
    edited = answer.raise_for_status().json()
    assert edited["message"]["content"] == "Good day."
    assert await texts(live, session) == ["Good day.", "First reply.", "And then?", "Second reply."]
    assert await texts(live, session, branch=before[0]["id"]) == [
        "Hello.",
        "First reply.",
        "And then?",
        "Second reply.",
    ]
    await say(live, session, "So?")
    assert "Good day." in prompt(live)
    assert "Hello." not in prompt(live)


async def test_edited_reply_has_ids_of_its_own(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.")
    await live.client.patch(f"{session}/messages/{turn['message_id']}", json={"content": "  Something else. "})
    stored = next(message for message in await all_messages(live, session) if "Something" in message.content)
    assert live.engine.renderer.decode(stored.token_ids) == "Something else."
    assert stored.finish_reason is None


async def test_delete_takes_one_message_or_all_that_follows(live: Live) -> None:
    session = await open_session(live)
    await say(live, session, "Hello.")
    await say(live, session, "And then?")
    said = await messages(live, session)
    await live.client.delete(f"{session}/messages/{said[1]['id']}")
    assert await texts(live, session) == ["Hello.", "And then?", "Second reply."]
    await live.client.delete(f"{session}/messages/{said[0]['id']}", params={"following": "true"})
    assert await texts(live, session) == []
    await post(live, f"{session}/undo")
    assert await texts(live, session) == ["Hello.", "And then?", "Second reply."]
    assert await texts(live, session, branch=said[1]["id"]) == ["Hello.", "First reply.", "And then?", "Second reply."]


async def test_undo_goes_back_step_by_step(live: Live) -> None:
    session = await open_session(live)
    first = await say(live, session, "Hello.")
    await say(live, session, "And then?")
    await post(live, f"{session}/regenerate")
    await live.client.patch(f"{session}/messages/{first['message_id']}", json={"content": "Edited."})
    seen = []
    for _ in range(4):
        await post(live, f"{session}/undo")
        seen.append(await texts(live, session))
    assert seen == [
        ["Hello.", "First reply.", "And then?", "Third reply."],
        ["Hello.", "First reply.", "And then?", "Second reply."],
        ["Hello.", "First reply."],
        [],
    ]
    assert_error(await live.client.post(f"{session}/undo"), 409, code="nothing_to_undo")


async def test_fork_is_a_session_of_its_own(live: Live) -> None:
    session = await open_session(live)
    first = await say(live, session, "Hello.", n=2)
    await say(live, session, "And then?")
    forked = await post(live, f"{session}/fork", message_id=first["message_id"])
    other = f"/sessions/{forked['id']}"
    assert [message["content"] for message in forked["messages"]] == ["Hello.", "First reply."]
    assert forked["messages"][1]["swipe"]["count"] == 2
    assert not {message["id"] for message in forked["messages"]} & {m.id for m in await all_messages(live, session)}
    await say(live, other, "Elsewhere.")
    assert (await texts(live, session))[2:] == ["And then?", "Third reply."]
    await live.client.delete(session)
    again = await post(live, f"{other}/fork")
    assert [message["content"] for message in again["messages"]][2:] == ["Elsewhere.", "Fourth reply."]


async def test_fork_begins_with_the_same_tokens(live: Live) -> None:
    session = await open_session(live, greeting="It is {{time}}, and the die says {{roll:1000}}.")
    turn = await say(live, session, "Hello.")
    forked = await post(live, f"{session}/fork", message_id=turn["message_id"])
    await say(live, session, "Go on.")
    await say(live, f"/sessions/{forked['id']}", "Go on.")
    assert live.engine.prompts[-1] == live.engine.prompts[-2]


async def test_checkpoint_is_a_name_to_come_back_to(live: Live) -> None:
    session = await open_session(live)
    await say(live, session, "Hello.")
    marked = (await live.client.put(f"{session}/checkpoints/the door")).raise_for_status().json()
    assert list(marked["checkpoints"]) == ["the door"]
    await say(live, session, "And then?")
    await post(live, f"{session}/checkpoints/the door/restore")
    assert await texts(live, session) == ["Hello.", "First reply."]
    assert (await live.client.get(session)).json()["checkpoints"] == marked["checkpoints"]
    await live.client.delete(f"{session}/checkpoints/the door")
    assert_error(await live.client.post(f"{session}/checkpoints/the door/restore"), 404, code="checkpoint_not_found")


async def test_version_that_moved_on_is_not_changed(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.")
    await say(live, session, "And then?", if_version=turn["version"])
    path = f"{session}/messages/{turn['message_id']}"
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", f"{session}/messages", {"content": "Late."}),
        ("POST", f"{session}/regenerate", {}),
        ("POST", f"{session}/continue", {}),
        ("POST", f"{session}/impersonate", {}),
        ("POST", f"{session}/undo", {}),
        ("POST", f"{session}/fork", {}),
        ("POST", f"{path}/select", {}),
        ("PATCH", path, {"content": "Late."}),
        ("PUT", f"{session}/checkpoints/late", {}),
    ]
    for method, url, body in requests:
        answer = await live.client.request(method, url, json=body | {"if_version": turn["version"]})
        assert_error(answer, 409, code="version_mismatch")
    answer = await live.client.delete(path, params={"if_version": turn["version"]})
    assert_error(answer, 409, code="version_mismatch")
    assert await texts(live, session) == ["Hello.", "First reply.", "And then?", "Second reply."]


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "select", "fork", "checkpoint", "branch", "swipes"])
async def test_message_of_another_session_is_unknown(live: Live, method: str) -> None:
    other = await say(live, await open_session(live), "Hello.")
    session = await open_session(live)
    path = f"{session}/messages/{other['message_id']}"
    answers: dict[str, Any] = {
        "PATCH": live.client.patch(path, json={"content": "Mine now."}),
        "DELETE": live.client.delete(path),
        "select": live.client.post(f"{path}/select"),
        "fork": live.client.post(f"{session}/fork", json={"message_id": other["message_id"]}),
        "checkpoint": live.client.put(f"{session}/checkpoints/a", json={"message_id": other["message_id"]}),
        "branch": live.client.get(f"{session}/messages", params={"branch": other["message_id"]}),
        "swipes": live.client.get(f"{path}/swipes"),
    }
    answer: httpx.Response = await answers.pop(method)
    for unused in answers.values():
        unused.close()
    assert_error(answer, 404, code="message_not_found")


async def test_change_in_the_middle_of_a_turn_is_refused(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.")
    live.engine.script = Script(says=["Slowly. " * 20], hold_after=1)
    async with live.client.stream("POST", f"{session}/messages", json={"content": "Go on.", "stream": True}):
        await live.engine.held.wait()
        answer = await live.client.patch(f"{session}/messages/{turn['message_id']}", json={"content": "Now."})
        assert_error(answer, 409, code="session_busy")
        live.engine.go.set()


async def test_nothing_to_regenerate_or_continue_is_an_error(live: Live) -> None:
    session = await open_session(live)
    assert_error(await live.client.post(f"{session}/regenerate"), 400)
    assert_error(await live.client.post(f"{session}/continue"), 400)
    assert_error(await live.client.post(f"{session}/fork"), 400)
    assert_error(await live.client.put(f"{session}/checkpoints/a"), 400)
    greeted = await open_session(live, greeting="Well?")
    assert_error(await live.client.post(f"{greeted}/regenerate"), 400)


async def test_edit_says_something(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.")
    path = f"{session}/messages/{turn['message_id']}"
    assert_error(await live.client.patch(path, json={"content": " \n"}), 400)
    assert_error(await live.client.patch(path, json={"content": "x" * 200_001}), 400)


async def test_session_that_is_full_says_so(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MOST_MESSAGES", 4)
    session = await open_session(live)
    await say(live, session, "Hello.")
    turn = await say(live, session, "And then?")
    answer = await live.client.post(f"{session}/messages", json={"content": "More."})
    assert_error(answer, 409, code="session_full")
    answer = await live.client.patch(f"{session}/messages/{turn['message_id']}", json={"content": "More."})
    assert_error(answer, 409, code="session_full")
    await post(live, f"{session}/undo")


async def test_too_many_checkpoints_are_refused(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MOST_CHECKPOINTS", 1)
    session = await open_session(live)
    await say(live, session, "Hello.")
    for answer in (200, 200, 400):
        name = "one" if answer == 200 else "two"
        assert (await live.client.put(f"{session}/checkpoints/{name}")).status_code == answer
