"""Two servers on one Redis whose clocks are an hour apart: what they share goes by its order, and by Redis' clock."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from app.sessions.message import Message
from tests.conftest import Server, run_server
from tests.conversations import new_session
from tests.fake_engine import Script
from tests.faults import open_session
from tests.live import PATIENCE_S, Live
from tests.processes import script
from tests.refusals import assert_error
from tests.resumable import spoken

pytestmark = pytest.mark.anyio

SKEW_S = 3600
WORDS = [f"word{number} " for number in range(6)]


@pytest.fixture(scope="module")
def late_server(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Server]:
    """A server whose clock is an hour slow, and whose engine takes its time."""
    program = ("tests.skewed_clock", str(-SKEW_S))
    slowly = script(words=len(WORDS), gap_s=0.03)
    with run_server(tmp_path_factory.mktemp("late"), program, slowly, redis_url=redis_url) as server:
        yield server


@pytest.fixture
async def late(late_server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=late_server.url, timeout=PATIENCE_S, verify=False) as client:
        yield client


@pytest.fixture
def right(running: Live) -> httpx.AsyncClient:
    """The client of the server whose clock is right."""
    running.engine.script = Script(words=len(WORDS))
    return running.client


async def post(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    told: dict[str, Any] = answer.raise_for_status().json()
    return told


async def ids(client: httpx.AsyncClient, path: str) -> list[str]:
    answer = await client.get(path)
    return [message["id"] for message in answer.raise_for_status().json()["messages"]]


async def test_clocks_are_apart(running: Live, right: httpx.AsyncClient, late: httpx.AsyncClient) -> None:
    opened = [await post(client, "/sessions", character_id="lyra") for client in (right, late)]
    assert opened[0]["created"] - opened[1]["created"] == pytest.approx(SKEW_S, abs=60)


async def test_swipes_stand_in_the_order_in_which_they_were_made(
    running: Live, right: httpx.AsyncClient, late: httpx.AsyncClient
) -> None:
    session = await open_session(running)
    replies = [(await post(right, f"{session}/messages", content="Hello."))["message_id"]]
    for client, n in ((late, 2), (right, 1), (late, 1)):
        told = await post(client, f"{session}/regenerate", n=n)
        replies += told.get("message_ids", [told["message_id"]])
    assert await ids(right, f"{session}/messages/{replies[0]}/swipes") == replies


async def test_message_is_later_than_those_beside_it_whatever_a_clock_says() -> None:
    session = new_session()
    parent = session.tip
    for number, at in enumerate((100.0, 40.0, 40.0, 120.0)):
        reply = Message(f"msg_{number}", parent, "assistant", "Well.", [1], created=at)
        session = session.add([reply], tip=reply.id, window=None)
    times = [session.messages[f"msg_{number}"].created for number in range(4)]
    assert times == sorted(set(times))
    assert (times[0], times[-1]) == (100.0, 120.0)
    assert times[2] < 100.001


async def test_branch_that_is_left_is_found_again_by_its_newest(
    running: Live, right: httpx.AsyncClient, late: httpx.AsyncClient
) -> None:
    session = await open_session(running)
    await post(right, f"{session}/messages", content="Hello.")
    greeting, asked, reply = await ids(right, f"{session}/messages")
    edited = (await late.patch(f"{session}/messages/{reply}", json={"content": "No."})).raise_for_status().json()
    await post(right, f"{session}/messages/{greeting}/select", following=False)
    assert (await post(right, f"{session}/messages/{asked}/select"))["message_id"] == edited["message_id"]


async def test_session_that_one_answers_in_is_busy_for_the_other(
    running: Live, right: httpx.AsyncClient, late: httpx.AsyncClient
) -> None:
    session = await open_session(running)
    async with late.stream("POST", f"{session}/messages", json={"content": "Hello.", "stream": True}) as answer:
        lines = answer.aiter_lines()
        while WORDS[0] not in await anext(lines):
            pass
        assert_error(await right.post(f"{session}/messages", json={"content": "And?"}), 409, code="session_busy")
        left_ms = await running.app.state.redis.pttl(f"oc:{{{session.rpartition('/')[2]}}}:lease")
        assert 0 < left_ms <= 15_000
        async for _ in lines:
            pass
    assert (await post(right, f"{session}/messages", content="And?"))["version"] == 3


async def test_turn_of_one_is_followed_on_the_other(
    running: Live, right: httpx.AsyncClient, late: httpx.AsyncClient
) -> None:
    for owner, reader in ((late, right), (right, late)):
        session = await open_session(running)
        body = {"content": "Hello.", "stream": True, "resumable": True}
        async with owner.stream("POST", f"{session}/messages", json=body) as answer:
            await anext(answer.aiter_lines())
        stream = f"{session}/turns/{answer.headers['x-turn-id']}/stream"
        assert spoken((await reader.get(stream)).text) == "".join(WORDS)


async def test_request_that_one_has_done_is_told_by_the_other(
    running: Live, right: httpx.AsyncClient, late: httpx.AsyncClient
) -> None:
    session = await open_session(running)
    for first, second in ((late, right), (right, late)):
        sent: dict[str, Any] = {"json": {"content": "Hello."}, "headers": {"Idempotency-Key": f"{id(first)}"}}
        told = [await client.post(f"{session}/messages", **sent) for client in (first, second)]
        assert told[0].raise_for_status().content == told[1].content
    assert (await right.get(session)).json()["version"] == 3


async def test_request_that_one_is_at_is_not_begun_by_the_other(
    running: Live, right: httpx.AsyncClient, late: httpx.AsyncClient
) -> None:
    session = await open_session(running)
    sent: dict[str, Any] = {"json": {"content": "Hello."}, "headers": {"Idempotency-Key": "under-way"}}
    first = asyncio.create_task(late.post(f"{session}/messages", **sent))
    async with asyncio.timeout(PATIENCE_S):
        while not await running.app.state.redis.exists(f"oc:{{{session.rpartition('/')[2]}}}:lease"):
            await asyncio.sleep(0.001)
    assert_error(await right.post(f"{session}/messages", **sent), 409, code="idempotency_in_progress")
    assert (await first).json()["version"] == 2


async def test_memory_from_a_moment_that_is_yet_to_come_is_found(
    running: Live, right: httpx.AsyncClient, late: httpx.AsyncClient
) -> None:
    session = await open_session(running)
    written = await post(right, f"{session}/memories", text="The dog is called Brandt.")
    assert written["at"] > time.time() - SKEW_S / 2
    [found] = (await late.get(f"{session}/memories", params={"q": "the dog Brandt"})).json()["memories"]
    assert found["id"] == written["id"]
    assert 0 < found["score"] <= 2


async def test_user_is_erased_on_the_other(running: Live, right: httpx.AsyncClient, late: httpx.AsyncClient) -> None:
    for opener, eraser in ((late, right), (right, late)):
        opened = await post(opener, "/sessions", character_id="lyra", user={"id": "sam"})
        assert (await eraser.delete("/users/sam")).is_success
        assert_error(await opener.get(f"/sessions/{opened['id']}"), 404)
