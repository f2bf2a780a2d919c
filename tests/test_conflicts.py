"""Two who write in one session: refused, one after the other, or one instead of the other; on any server."""

import asyncio
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app.errors import SessionBusyError
from app.store.sessions import SessionStore
from models.renderer import Renderer
from tests.conversations import new_session
from tests.fake_engine import FakeEngine, Script
from tests.faults import open_session, resume, said, saying
from tests.live import Live, serve_live
from tests.refusals import CHAT, assert_error
from tests.resumable import ending, spoken, two_servers

pytestmark = pytest.mark.anyio

WORDS = "word0 word1 word2 word3 word4 word5 "


def say(live: Live, session: str, content: str, on_conflict: str, **fields: Any) -> asyncio.Task[httpx.Response]:
    body = {"content": content, "on_conflict": on_conflict, **fields}
    return asyncio.create_task(live.client.post(f"{session}/messages", json=body))


async def until_waited_for(redis: Redis, session: str, other_than: bytes | None = None) -> bytes:
    """Who is next in the session; somebody else than before, where that is given."""
    key = f"oc:{{{session.rpartition('/')[2]}}}:waiter"
    async with asyncio.timeout(10):
        while (waiter := await redis.get(key)) in (None, other_than):
            await asyncio.sleep(0.001)
    assert isinstance(waiter, bytes)
    return waiter


async def contents(live: Live, session: str) -> list[str]:
    return [message["content"] for message in await said(live, session)]


async def test_conflict_is_refused_unless_told_otherwise(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=1)
    async with saying(live, session, stream=True):
        refused = await say(live, session, "And?", "reject")
        assert_error(refused, 409, code="session_busy")
        assert refused.headers["x-should-retry"] == "false"
        assert_error(await say(live, session, "And?", "wait"), 400, param="on_conflict")


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_enqueued_turn_comes_after_the_one_that_runs(
    renderer: Renderer, redis: Redis, redis_url: str, elsewhere: bool
) -> None:
    async with two_servers(renderer, redis_url) as (one, other):
        session = await open_session(one)
        one.engine.script = Script(hold_after=1)
        async with saying(one, session, stream=True) as first:
            second = say(other if elsewhere else one, session, "And?", "enqueue")
            await until_waited_for(redis, session)
            resume(one)
            assert spoken((await first).text) == WORDS
            assert (await second).json()["version"] == 3
        assert await contents(one, session) == ["Hello.", WORDS, "And?", WORDS]


async def test_enqueued_turn_waits_for_none_where_none_runs(live: Live) -> None:
    session = await open_session(live)
    assert (await say(live, session, "Hello.", "enqueue")).status_code == 200
    assert (await say(live, session, "And?", "interrupt")).status_code == 200
    assert len(await contents(live, session)) == 4


async def test_one_alone_waits_and_is_the_next(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=1)
    async with saying(live, session, stream=True) as first:
        second = say(live, session, "And?", "enqueue")
        waiter = await until_waited_for(redis, session)
        assert_error(await say(live, session, "Me, too.", "enqueue"), 409, code="session_busy")
        assert_error(await say(live, session, "Me, too.", "reject"), 409, code="session_busy")
        assert await until_waited_for(redis, session) == waiter
        resume(live)
        await first
        assert (await second).status_code == 200
    assert "Me, too." not in await contents(live, session)


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_interrupting_turn_comes_instead_of_the_rest(
    renderer: Renderer, redis: Redis, redis_url: str, elsewhere: bool
) -> None:
    async with two_servers(renderer, redis_url) as (one, other):
        session = await open_session(one)
        one.engine.script = Script(hold_after=2)
        async with saying(one, session, stream=True) as first:
            one.engine.script = Script()
            second = await say(other if elsewhere else one, session, "Wait!", "interrupt")
            assert second.status_code == 200, second.text
            text = (await first).text
        assert spoken(text) == "word0 word1 "
        messages = await said(one, session)
        assert [message["content"] for message in messages] == ["Hello.", "word0 word1 ", "Wait!", WORDS]
        assert messages[1]["finish_reason"] == "interrupted"
        assert ending(text)["message_id"] == messages[1]["id"]
        assert second.json()["version"] == 3


async def test_interruption_takes_the_place_of_who_waits(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=2)
    async with saying(live, session, stream=True):
        second = say(live, session, "And?", "enqueue")
        await until_waited_for(redis, session)
        live.engine.script = Script()
        assert (await say(live, session, "Wait!", "interrupt")).status_code == 200
        told = await second
    assert_error(told, 409, code="session_busy")
    assert await contents(live, session) == ["Hello.", "word0 word1 ", "Wait!", WORDS]


async def test_interrupted_turn_that_said_nothing_leaves_nothing(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=0)
    async with saying(live, session, stream=False) as first:
        live.engine.script = Script()
        assert (await say(live, session, "Wait!", "interrupt")).status_code == 200
        assert_error(await first, 409, code="turn_cancelled")
    assert await contents(live, session) == ["Wait!", WORDS]


@pytest.mark.parametrize("entry", ["regenerate", "continue", "impersonate"])
async def test_every_kind_of_turn_waits(live: Live, redis: Redis, entry: str) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=1)
    async with saying(live, session, stream=True) as first:
        body = {"on_conflict": "enqueue"}
        second = asyncio.create_task(live.client.post(f"{session}/{entry}", json=body))
        await until_waited_for(redis, session)
        resume(live)
        await first
        assert (await second).json()["version"] == 3


async def test_completion_in_a_session_interrupts(live: Live) -> None:
    body: dict[str, Any] = {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}]}
    tea = {"X-Session-Id": "tea"}
    live.engine.script = Script(hold_after=1)
    first = asyncio.create_task(live.client.post(CHAT, json=body, headers=tea))
    await live.engine.held.wait()
    live.engine.script = Script()
    second = await live.client.post(CHAT, json=body | {"on_conflict": "interrupt"}, headers=tea)
    assert second.status_code == 200, second.text
    assert (await first).json()["choices"][0]["message"]["content"] == "word0 "


async def test_who_has_waited_too_long_is_refused(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with serve_live(FakeEngine(renderer), redis_url, queue_s=0.1) as live:
        session = await open_session(live)
        live.engine.script = Script(hold_after=1)
        async with saying(live, session, stream=True):
            told = assert_error(await say(live, session, "And?", "enqueue"), 409, code="session_busy")
            assert "0.1 s" in told
            assert await redis.exists(f"oc:{{{session.rpartition('/')[2]}}}:waiter") == 0


async def test_who_goes_gives_up_the_place(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    key = f"oc:{{{session.rpartition('/')[2]}}}:waiter"
    live.engine.script = Script(hold_after=1)
    async with saying(live, session, stream=True) as first:
        second = say(live, session, "And?", "enqueue")
        await until_waited_for(redis, session)
        second.cancel()
        async with asyncio.timeout(1.5):
            while await redis.exists(key):
                await asyncio.sleep(0.005)
        resume(live)
        await first
    assert await contents(live, session) == ["Hello.", WORDS]


async def test_version_is_checked_when_the_wait_is_over(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=1)
    async with saying(live, session, stream=True) as first:
        second = say(live, session, "And?", "enqueue", if_version=1)
        await until_waited_for(redis, session)
        resume(live)
        await first
        assert_error(await second, 409, code="version_mismatch")
    assert (await say(live, session, "Free?", "reject")).status_code == 200


async def test_erased_session_is_waited_for_by_nobody(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=1)
    async with saying(live, session, stream=True):
        second = say(live, session, "And?", "enqueue")
        await until_waited_for(redis, session)
        await live.client.delete(session)
        assert_error(await second, 404, code="session_not_found")
    assert await redis.keys(f"*{session.rpartition('/')[2]}*") == []


async def test_place_is_lost_by_who_does_not_come_back(sessions: SessionStore, redis: Redis) -> None:
    session = await sessions.create(new_session())
    await sessions.acquire(session.id, "mine")
    assert await sessions.line_up(session.id, "yours", "enqueue") == "mine"
    with pytest.raises(SessionBusyError):
        await sessions.line_up(session.id, "theirs", "enqueue")
    assert 0 < await redis.pttl(f"oc:{{{session.id}}}:waiter") <= 2000
    await redis.delete(f"oc:{{{session.id}}}:waiter")
    assert await sessions.line_up(session.id, "theirs", "enqueue") == "mine"
    with pytest.raises(SessionBusyError):
        await sessions.line_up(session.id, "yours", "stay")
    await sessions.release(session.id, "mine")
    with pytest.raises(SessionBusyError):
        await sessions.acquire(session.id, "whoever's")
    await sessions.line_up(session.id, "theirs", "stay")
    with pytest.raises(SessionBusyError):
        await sessions.acquire(session.id, "whoever's")


@pytest.mark.parametrize("on_conflict", ["enqueue", "interrupt"])
async def test_lease_that_outlives_its_owner_is_waited_for(live: Live, redis: Redis, on_conflict: str) -> None:
    session = await open_session(live)
    # As a server leaves it that dies in mid-turn.
    await redis.set(f"oc:{{{session.rpartition('/')[2]}}}:lease", "turn_dead", px=200)
    assert_error(await say(live, session, "Hello?", "reject"), 409, code="session_busy")
    assert (await say(live, session, "Hello?", on_conflict)).json()["version"] == 2
    assert await contents(live, session) == ["Hello?", WORDS]
