"""Two at once: one turn a session, and whoever has lost the session writes nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from app.sessions.ids import new_id
from app.sessions.message import Message
from app.store.sessions import SessionStore
from models.renderer import Renderer
from tests.fake_engine import FakeEngine, Script
from tests.faults import assert_error_frames, both, open_session, resume, said, saying
from tests.live import Live, serve_live

LEASE_S = 1.0


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    async with serve_live(FakeEngine(renderer), redis_url, lease_s=LEASE_S) as running:
        yield running


@pytest.mark.anyio
@both
async def test_second_turn_at_once_is_refused(live: Live, stream: bool) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=1)
    async with saying(live, session, stream=True) as first:
        second = await live.client.post(f"{session}/messages", json={"content": "And?", "stream": stream})
        again = await live.client.post(f"{session}/regenerate", json={})
        resume(live)
        assert (await first).status_code == 200
    for refused in (second, again):
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "session_busy"
        assert refused.headers["x-should-retry"] == "false"
    assert [message["content"] for message in await said(live, session)][::2] == ["Hello."]


@pytest.mark.anyio
async def test_long_turn_keeps_its_lease(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    key = f"oc:{{{session.rpartition('/')[2]}}}:lease"
    live.engine.script = Script(hold_after=1)
    async with saying(live, session, stream=True):
        left = await redis.pttl(key)
        async with asyncio.timeout(10):
            while (now := await redis.pttl(key)) <= left:
                left = now
    assert now > left


@pytest.mark.anyio
async def test_turn_keeps_its_lease_while_it_begins(live: Live, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await open_session(live)
    key = f"oc:{{{session.rpartition('/')[2]}}}:lease"
    preparation = live.app.state.turns.preparation
    prepare, held, go = preparation.prepare, asyncio.Event(), asyncio.Event()

    async def slowly(*args: Any, **more: Any) -> Any:
        held.set()
        await go.wait()
        return await prepare(*args, **more)

    monkeypatch.setattr(preparation, "prepare", slowly)
    turn = asyncio.create_task(live.client.post(f"{session}/messages", json={"content": "Hello."}))
    await asyncio.wait_for(held.wait(), 10)
    left = await redis.pttl(key)
    async with asyncio.timeout(10):
        while (now := await redis.pttl(key)) <= left:
            left = now
    go.set()
    assert (await turn).status_code == 200


@pytest.mark.anyio
async def test_turn_that_lost_its_session_writes_nothing(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    session_id = session.rpartition("/")[2]
    store = SessionStore(redis, LEASE_S)
    live.engine.script = Script(hold_after=2)
    async with saying(live, session, stream=True) as turn:
        await redis.delete(f"oc:{{{session_id}}}:lease")
        taken = await store.acquire(session_id, "another's")
        other = Message(new_id("msg"), taken.tip, "user", "I was first.", [1])
        await store.commit(taken, [other], tip=other.id, window=None, lease="another's")
        resume(live)
        assert_error_frames((await turn).text.splitlines(), "conflict")
    assert [message["content"] for message in await said(live, session)] == ["I was first."]


@pytest.mark.anyio
async def test_session_deleted_in_mid_turn_stays_deleted(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=2)
    async with saying(live, session, stream=True) as turn:
        assert (await live.client.delete(session)).status_code == 204
        resume(live)
        assert_error_frames((await turn).text.splitlines(), "session_not_found")
    assert await redis.keys(f"*{session.rpartition('/')[2]}*") == []


@pytest.mark.anyio
async def test_more_than_the_server_takes_is_refused(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with serve_live(FakeEngine(renderer, Script(hold_after=1)), redis_url, max_concurrent_requests=1) as live:
        session, other = await open_session(live), await open_session(live)
        async with saying(live, session, stream=True) as first:
            refused = await live.client.post(f"{other}/messages", json={"content": "Hello."})
            resume(live)
            await first
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert refused.json()["error"]["code"] == "overloaded"
        assert (await live.client.post(f"{other}/messages", json={"content": "Hello."})).status_code == 200
