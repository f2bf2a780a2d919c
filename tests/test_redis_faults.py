"""Redis goes while somebody talks: it is told, no turn is half written, and all goes on when it is back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.store.connection import connect
from models.renderer import Renderer
from tests.fake_engine import FakeEngine, Script
from tests.faults import assert_error_frames, both, open_session, resume, said, saying
from tests.live import Live, serve_live
from tests.own_redis import OwnRedis

LEASE_S = 1.0


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def fragile(renderer: Renderer, own_redis: OwnRedis) -> AsyncIterator[Live]:
    """A live application on a Redis of its own."""
    async with serve_live(FakeEngine(renderer), own_redis.url, lease_s=LEASE_S) as running:
        yield running


@pytest.mark.anyio
@both
async def test_redis_stopped_in_mid_turn_is_told(fragile: Live, own_redis: OwnRedis, stream: bool) -> None:
    session = await open_session(fragile)
    fragile.engine.script = Script(hold_after=2)
    async with saying(fragile, session, stream=stream) as turn:
        own_redis.kill()
        fragile.engine.go.set()
        answer = await turn
    if stream:
        assert answer.status_code == 200
        assert_error_frames(answer.text.splitlines(), "store_unavailable")
    else:
        assert answer.status_code == 503
        # Redis may have written it and died before it said so.
        assert answer.headers["x-should-retry"] == "false"
        assert answer.json()["error"]["code"] == "store_unavailable"
    own_redis.start()


@pytest.mark.anyio
@both
async def test_redis_stopped_in_mid_turn_leaves_no_half_turn(fragile: Live, own_redis: OwnRedis, stream: bool) -> None:
    session = await open_session(fragile)
    fragile.engine.script = Script(hold_after=2)
    async with saying(fragile, session, stream=stream) as turn:
        own_redis.kill()
        fragile.engine.go.set()
        await turn
    own_redis.start()
    assert await said(fragile, session) == []
    async with connect(own_redis.url) as redis:
        key = f"oc:{{{session.rpartition('/')[2]}}}"
        assert await redis.hlen(f"{key}:messages") == await redis.hlen(f"{key}:tokens") == 1


@pytest.mark.anyio
async def test_chat_goes_on_when_redis_is_back(fragile: Live, own_redis: OwnRedis) -> None:
    session = await open_session(fragile)
    fragile.engine.script = Script(hold_after=2)
    async with saying(fragile, session, stream=False) as turn:
        own_redis.kill()
        resume(fragile)
        await turn
    own_redis.start()
    async with asyncio.timeout(LEASE_S + 5):  # the lost turn's lease runs out by itself
        while (
            answer := await fragile.client.post(f"{session}/messages", json={"content": "Again."})
        ).status_code != 200:
            assert answer.json()["error"]["code"] == "session_busy"
    assert (await said(fragile, session))[0]["content"] == "Again."


@pytest.mark.anyio
async def test_server_without_redis_is_alive_but_not_ready(fragile: Live, own_redis: OwnRedis) -> None:
    session = await open_session(fragile)
    own_redis.kill()
    assert (await fragile.client.get("/health")).status_code == 200
    for answer in (
        await fragile.client.get("/ready"),
        await fragile.client.get("/characters"),
        await fragile.client.get(session),
        await fragile.client.post(f"{session}/messages", json={"content": "Hello.", "stream": True}),
        await fragile.client.post("/characters", json={"name": "Odo"}),
    ):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "store_unavailable"
    own_redis.start()
    assert (await fragile.client.get("/ready")).status_code == 200
    assert (await fragile.client.post(f"{session}/messages", json={"content": "Hello."})).status_code == 200


@pytest.mark.anyio
async def test_raw_model_answers_without_redis(fragile: Live, own_redis: OwnRedis) -> None:
    own_redis.kill()
    body = {"model": "fake", "messages": [{"role": "user", "content": "Hello."}]}
    assert (await fragile.client.post("/v1/chat/completions", json=body)).status_code == 200
    own_redis.start()
