"""Forks of whatever a session's tree has: of what was deleted, of forks, of sessions that are gone since."""

from typing import Any

import pytest

from tests.fake_engine import Script
from tests.live import Live
from tests.refusals import assert_error

pytestmark = pytest.mark.anyio

SAYS = ("First reply.", "Second reply.", "Third reply.", "Fourth reply.")
SAID = ["Hello.", "First reply.", "And then?", "Second reply."]


@pytest.fixture
def live(running: Live) -> Live:
    running.engine.script, running.engine.replies = Script(says=SAYS), 0
    return running


async def post(live: Live, path: str, **body: Any) -> dict[str, Any]:
    answer = await live.client.post(path, json=body)
    told: dict[str, Any] = answer.raise_for_status().json()
    return told


async def talk(live: Live) -> tuple[str, list[str]]:
    """A session in which SAID was said, and the ids of its messages."""
    opened = await post(live, "/sessions", character_id="lyra", greeting=None)
    session = f"/sessions/{opened['id']}"
    for content in SAID[::2]:
        await post(live, f"{session}/messages", content=content)
    return session, await ids(live, session)


async def ids(live: Live, session: str) -> list[str]:
    return [message["id"] for message in (await live.client.get(f"{session}/messages")).json()["messages"]]


async def texts(live: Live, session: str) -> list[str]:
    return [message["content"] for message in (await live.client.get(f"{session}/messages")).json()["messages"]]


async def delete_branch(live: Live, session: str) -> None:
    first = (await ids(live, session))[0]
    answer = await live.client.delete(f"{session}/messages/{first}", params={"following": "true"})
    assert answer.raise_for_status().json()["message"] is None


async def test_fork_of_a_fork_of_a_deleted_branch_has_what_was_said_there(live: Live) -> None:
    session, said = await talk(live)
    await delete_branch(live, session)
    assert await texts(live, session) == []
    fork = f"/sessions/{(await post(live, f'{session}/fork', message_id=said[-1]))['id']}"
    assert await texts(live, fork) == SAID
    copies = await ids(live, fork)
    await delete_branch(live, fork)
    again = f"/sessions/{(await post(live, f'{fork}/fork', message_id=copies[-1]))['id']}"
    for gone in (session, fork):
        assert (await live.client.delete(gone)).status_code == 204
    await post(live, f"{again}/messages", content="Still there?")
    assert await texts(live, again) == [*SAID, "Still there?", "Third reply."]
    before, after = live.engine.prompts[-2:]
    # The ids of tokens came along: the last prompt begins with the one before, and with its reply.
    assert after[: len(before)] == before


async def test_fork_knows_no_message_of_where_it_came_from(live: Live) -> None:
    session, said = await talk(live)
    fork = f"/sessions/{(await post(live, f'{session}/fork'))['id']}"
    answer = await live.client.post(f"{fork}/fork", json={"message_id": said[-1]})
    assert_error(answer, 404, code="message_not_found")


async def test_nothing_is_forked_of_a_branch_that_has_nothing_left(live: Live) -> None:
    session, _ = await talk(live)
    await delete_branch(live, session)
    assert_error(await live.client.post(f"{session}/fork"), 400, param="message_id")


async def test_fork_of_a_deleted_session_is_not_found(live: Live) -> None:
    session, said = await talk(live)
    await live.client.delete(session)
    answer = await live.client.post(f"{session}/fork", json={"message_id": said[-1]})
    assert_error(answer, 404, code="session_not_found")
