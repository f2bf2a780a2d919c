"""What is kept of requests with an `Idempotency-Key`: how much, for how long, and not beyond their session."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from app.api.http import idempotency
from models.renderer import Renderer
from tests.fake_engine import FakeEngine, Script
from tests.faults import open_session, resume
from tests.keyed import HELLO, KEY, send
from tests.live import Live, serve_live
from tests.refusals import CHAT, assert_error


@pytest.mark.anyio
async def test_large_result_is_refused_rather_than_done_again(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MOST_RESULT_BYTES", 100)
    assert (await send(live, "/sessions", {"character_id": "lyra"})).status_code == 201
    again = await send(live, "/sessions", {"character_id": "lyra"})
    assert_error(again, 409, code="idempotency_result_too_large")
    assert again.headers["x-should-retry"] == "false"
    assert len((await live.client.get("/sessions")).json()["sessions"]) == 1


@pytest.mark.anyio
async def test_body_larger_than_any_is_refused(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with serve_live(FakeEngine(renderer), redis_url, max_body_bytes=1024, max_import_bytes=1024) as live:
        answer = await live.client.post("/characters/import", content=b"x" * 100_000, headers=KEY)
        assert_error(answer, 413, code="body_too_large")
    assert await redis.keys("oc:{operation:*") == []


@pytest.mark.anyio
async def test_results_are_erased_with_their_session(live: Live, redis: Redis) -> None:
    opened = await send(live, "/sessions", {"character_id": "lyra"})
    session = f"/sessions/{opened.json()['id']}"
    await send(live, f"{session}/messages", HELLO)
    await send(
        live,
        CHAT,
        {"model": "lyra", "messages": [{"role": "user", "content": "And?"}]},
        **{"X-Session-Id": opened.json()["id"]},
    )
    await send(live, f"{session}/undo")
    assert len(await redis.keys("oc:{operation:*")) == 4
    assert (await live.client.delete(session)).status_code == 204
    assert await redis.keys("oc:{operation:*") == []
    assert await redis.keys(f"*{opened.json()['id']}*") == []


@pytest.mark.anyio
@pytest.mark.parametrize("named", [{"session_id": "mine"}, {"metadata": {"chat_id": "mine"}}], ids=str)
async def test_results_of_asides_are_erased_with_the_session_that_their_body_names(
    live: Live, redis: Redis, named: dict[str, Any]
) -> None:
    asked = {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}], **named}
    (await live.client.post(CHAT, json=asked)).raise_for_status()
    (await send(live, CHAT, asked | {"store": False})).raise_for_status()
    assert len(await redis.keys("oc:{operation:*")) == 1
    assert (await live.client.delete("/sessions/mine")).status_code == 204
    assert await redis.keys("oc:{operation:*") == []


@pytest.mark.anyio
@pytest.mark.parametrize("session_id", ["}x", "{x}", "a}b{c", "x" * 129, "a b"])
async def test_what_is_no_sessions_id_is_no_session(live: Live, session_id: str) -> None:
    path, turn = f"/sessions/{quote(session_id)}", f"turn_{'0' * 32}"
    assert_error(await live.client.get(path), 404, code="session_not_found")
    assert_error(await send(live, f"{path}/messages", HELLO), 404, code="session_not_found")
    assert_error(await live.client.delete(path), 404, code="session_not_found")
    assert_error(await live.client.get(f"{path}/memories"), 404, code="session_not_found")
    assert_error(await live.client.get(f"{path}/turns/{turn}/stream"), 404)
    assert_error(await live.client.post(f"{path}/turns/{turn}/cancel"), 404)


@pytest.mark.anyio
async def test_result_of_an_erased_session_is_not_kept(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=1)
    turn = asyncio.create_task(send(live, f"{session}/messages", HELLO))
    await live.engine.held.wait()
    await live.client.delete(session)
    resume(live)
    assert (await turn).status_code == 404
    assert await redis.keys("oc:{operation:*") == []
    assert await redis.keys(f"*{session.rpartition('/')[2]}*") == []


@pytest.mark.anyio
async def test_everything_kept_runs_out(live: Live, redis: Redis) -> None:
    opened = await send(live, "/sessions", {"character_id": "lyra"})
    await send(live, f"/sessions/{opened.json()['id']}/messages", HELLO)
    kept = [*await redis.keys("oc:{operation:*"), *await redis.keys("*:receipt:*"), *await redis.keys("*:operations")]
    assert len(kept) == 4
    assert all([86_000 < await redis.ttl(key) <= 86_400 for key in kept])


@pytest.mark.anyio
async def test_request_without_a_key_asks_nothing_of_redis(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    await live.client.post(f"{session}/messages", json=HELLO)
    await live.client.get(session, headers=KEY)
    assert await redis.keys("oc:{operation:*") == []
