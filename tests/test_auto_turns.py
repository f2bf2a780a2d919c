"""Characters that talk among themselves, turn after turn, in one request."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from models.engine import EngineError
from models.renderer import Renderer
from tests.fake_engine import Script
from tests.faults import assert_error_frames
from tests.live import Live
from tests.scenes import open_scene, serve_cast, speakers
from tests.talks import REPLIES, post, say

pytestmark = pytest.mark.anyio


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    async with serve_cast(renderer, redis_url) as running:
        yield running


async def test_auto_lets_them_talk_among_themselves(live: Live) -> None:
    session = await open_scene(live)
    await say(live, session, "Talk.")
    among = await post(live, f"{session}/auto", turns=3, speaker="cleo")
    assert [told["message"]["speaker"] for told in among["turns"]] == ["cleo", "ann", "ben"]
    assert [told["version"] for told in among["turns"]] == [3, 4, 5]
    assert await speakers(live, session) == [None, "ann", "cleo", "ann", "ben"]


async def test_auto_streams_one_turn_after_another(live: Live) -> None:
    session = await open_scene(live)
    answer = await live.client.post(f"{session}/auto", json={"turns": 3, "stream": True})
    lines = [line for line in answer.text.splitlines() if line]
    assert lines.count("data: [DONE]") == 1
    assert lines[-1] == "data: [DONE]"
    begun = [line for line in lines if '"role":"assistant"' in line]
    order = [name for line in begun for name in ("ann", "ben", "cleo") if f'"speaker":"{name}"' in line]
    assert order == ["ann", "ben", "cleo"]


async def test_auto_ends_with_what_keeps_the_next_turn_from_beginning(live: Live) -> None:
    session = await open_scene(live, turn_order="manual")
    answer = await live.client.post(f"{session}/auto", json={"turns": 2, "speaker": "ann"})
    told = answer.json()
    assert (answer.status_code, answer.headers["x-should-retry"]) == (400, "false")
    assert len(told["turns"]) == 1
    assert told["error"]["code"] == "speaker_missing"
    streamed = await live.client.post(f"{session}/auto", json={"turns": 2, "speaker": "ann", "stream": True})
    *_, failed, done = [line for line in streamed.text.splitlines() if line]
    assert '"code":"speaker_missing"' in failed
    assert done == "data: [DONE]"


async def test_auto_tells_in_a_frame_why_a_later_turn_failed_before_its_first_word(live: Live) -> None:
    session = await open_scene(live)
    live.engine.script = Script(says=REPLIES, hold_after=1)
    streamed = asyncio.create_task(live.client.post(f"{session}/auto", json={"turns": 3, "stream": True}))
    await asyncio.wait_for(live.engine.held.wait(), 10)
    live.engine.script = Script(fail_after=0, failure=EngineError("it failed"))
    live.engine.go.set()
    assert_error_frames((await streamed).text.splitlines(), "engine_error")
    assert await speakers(live, session) == ["ann"]


async def test_auto_tells_what_was_said_with_the_status_of_what_failed(live: Live) -> None:
    session = await open_scene(live)
    live.engine.script = Script(says=REPLIES, hold_after=1)
    headers = {"Idempotency-Key": "among"}
    asked = asyncio.create_task(live.client.post(f"{session}/auto", json={"turns": 3}, headers=headers))
    await asyncio.wait_for(live.engine.held.wait(), 10)
    live.engine.script = Script(fail_after=0, failure=EngineError("it failed"))
    live.engine.go.set()
    failed = await asked
    assert (failed.status_code, failed.headers["x-should-retry"]) == (503, "false")
    assert failed.json()["error"]["code"] == "engine_error"
    assert [told["message"]["speaker"] for told in failed.json()["turns"]] == ["ann"]
    # With its key it goes on where it failed.
    live.engine.script = Script(says=REPLIES)
    again = (await live.client.post(f"{session}/auto", json={"turns": 3}, headers=headers)).raise_for_status().json()
    assert again["turns"][0]["message"]["id"] == failed.json()["turns"][0]["message"]["id"]
    assert await speakers(live, session) == ["ann", "ben", "cleo"]


async def test_auto_speaks_on_with_one_character_too(live: Live) -> None:
    answer = await live.client.post("/sessions", json={"character_id": "ann"})
    session = f"/sessions/{answer.json()['id']}"
    await post(live, f"{session}/auto", turns=2)
    assert [m["role"] for m in (await live.client.get(session)).json()["messages"]] == ["assistant"] * 3
