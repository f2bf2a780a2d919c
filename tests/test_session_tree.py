"""A session as a tree: swipes, continue, impersonate, edit, delete, fork, undo, checkpoints, over real sockets."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app.api.sessions.messages import messages_to_wire
from app.sessions import tree
from app.sessions.session import Message
from models.renderer import Renderer
from tests.conversations import new_session
from tests.fake_engine import FakeEngine, Script
from tests.live import Live, serve_live
from tests.refusals import assert_error

pytestmark = pytest.mark.anyio
REPLIES = ["First reply.", "Second reply.", "Third reply.", "Fourth reply.", "Fifth reply.", "Sixth reply."]


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    """A server that never says the same twice in a row."""
    async with serve_live(FakeEngine(renderer, Script(says=REPLIES)), redis_url) as running:
        yield running


async def open_session(live: Live, **fields: Any) -> str:
    answer = await live.client.post("/sessions", json={"character_id": "lyra", "greeting": None, **fields})
    return f"/sessions/{answer.raise_for_status().json()['id']}"


async def post(live: Live, path: str, **body: Any) -> dict[str, Any]:
    answer = await live.client.post(path, json=body)
    told: dict[str, Any] = answer.raise_for_status().json()
    return told


async def say(live: Live, session: str, content: str, **more: Any) -> dict[str, Any]:
    return await post(live, f"{session}/messages", content=content, **more)


async def messages(live: Live, session: str, **query: str) -> list[dict[str, Any]]:
    answer = await live.client.get(f"{session}/messages", params=query)
    told: list[dict[str, Any]] = answer.raise_for_status().json()["messages"]
    return told


async def texts(live: Live, session: str, **query: str) -> list[str]:
    return [message["content"] for message in await messages(live, session, **query)]


def last_prompt(live: Live) -> str:
    return live.engine.renderer.decode(live.engine.prompts[-1])


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


async def test_every_reply_tells_where_it_was_written(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.")
    assert turn["turn_id"].startswith("turn_")
    assert (turn["version"], turn["message_id"]) == (2, turn["message"]["id"])


async def test_swipe_that_is_selected_is_what_the_next_turn_answers(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.", n=2)
    selected = await post(live, f"{session}/messages/{turn['message_ids'][1]}/select")
    assert selected["message"]["content"] == "Second reply."
    await say(live, session, "And then?")
    assert await texts(live, session) == ["Hello.", "Second reply.", "And then?", "Third reply."]
    assert "Second reply." in last_prompt(live)
    assert "First reply." not in last_prompt(live)


async def test_page_of_many_swipes_is_told_at_once() -> None:
    swipes = [Message(f"msg_{number:05}", None, "assistant", "Well.", [1], created=number) for number in range(20_000)]
    session = replace(new_session(), messages={swipe.id: swipe for swipe in swipes}, tip=swipes[0].id)
    began = time.perf_counter()
    told = await messages_to_wire(session, swipes[-1000:])
    # Looked up one by one they are ten seconds of work, for which every stream waits.
    assert time.perf_counter() - began < 1
    assert told[0]["swipe"] == {"index": 19_000, "count": 20_000, "previous": "msg_18999", "next": "msg_19001"}
    assert told[-1]["swipe"]["next"] is None


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


async def all_messages(live: Live, session: str) -> list[Any]:
    stored = await live.app.state.turns.sessions.get(session.rsplit("/", 1)[1])
    return list(stored.messages.values())


async def test_continue_goes_on_from_the_exact_tokens_and_keeps_the_reply_before(live: Live) -> None:
    session = await open_session(live)
    turn = await say(live, session, "Hello.")
    longer = await post(live, f"{session}/continue")
    assert longer["message"]["content"] == "First reply.Second reply."
    assert last_prompt(live).endswith("First reply.")
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
    assert "what Ann says next" in last_prompt(live)
    answer = await post(live, f"{session}/regenerate")
    assert answer["message"]["content"] == "Third reply."
    assert [message["role"] for message in await messages(live, session)] == ["user", "assistant", "user", "assistant"]
    assert "what Ann says next" not in last_prompt(live)


async def test_users_line_is_no_part_of_the_reply_before_it(live: Live) -> None:
    session = await open_session(live, user={"name": "Ann"})
    await say(live, session, "Hello.")
    await post(live, f"{session}/impersonate")
    reply, _, request = last_prompt(live).rpartition("First reply.")
    assert reply
    assert request.startswith("<|eot_id|>")
    assert "what Ann says next" in request
    assert request.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")


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
    assert "Good day." in last_prompt(live)
    assert "Hello." not in last_prompt(live)


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
