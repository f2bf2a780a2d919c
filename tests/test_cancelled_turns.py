"""Cancelling turns, on the server that runs them or another: what was spoken is kept, and said so."""

import asyncio
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from app.store.stops import Stops
from models.renderer import Renderer
from tests.fake_engine import Script
from tests.faults import gauge, open_session, resume, said, saying, until
from tests.live import Live
from tests.refusals import CHAT, assert_error
from tests.resumable import Begun, SlowClient, begin, cancel, ending, follow, payloads, spoken, two_servers

pytestmark = pytest.mark.anyio

SPOKEN = "word0 word1 word2 "


async def running_turn(redis: Redis, session: str) -> str:
    """The path of the turn that has the session."""
    lease = await redis.get(f"oc:{{{session.rpartition('/')[2]}}}:lease")
    assert isinstance(lease, bytes)
    return f"{session}/turns/{lease.decode()}"


async def test_cancelled_turn_keeps_what_was_spoken(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=3)
    async with saying(live, session, stream=True) as turn:
        path = await running_turn(redis, session)
        told = (await cancel(live, path)).raise_for_status().json()
        text = (await turn).text
    assert not live.engine.running
    assert len(live.engine.aborted) == 1
    asked, reply = await said(live, session)
    assert asked["content"] == "Hello."
    assert (reply["content"], reply["finish_reason"]) == (SPOKEN, "interrupted")
    assert told == {
        "session_id": session.rpartition("/")[2],
        "turn_id": path.rpartition("/")[2],
        "message_id": reply["id"],
        "finish_reason": "interrupted",
        "version": 2,
    }
    # Who hears it gets an end as ever.
    assert spoken(text) == SPOKEN
    assert ending(text)["message_id"] == reply["id"]
    assert 'finish_reason="cancelled"' in live.app.state.metrics.exposition().decode()
    assert (await cancel(live, path)).json() == told


async def test_cancelled_turn_answers_json_with_what_was_spoken(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=3)
    async with saying(live, session, stream=False) as turn:
        told = (await cancel(live, await running_turn(redis, session))).json()
        answer = (await turn).raise_for_status().json()
    assert (answer["message"]["content"], answer["message"]["finish_reason"]) == (SPOKEN, "interrupted")
    assert (answer["message_id"], answer["version"]) == (told["message_id"], told["version"])


@pytest.mark.parametrize("stream", [False, True])
async def test_turn_cancelled_before_its_first_word_keeps_nothing(live: Live, redis: Redis, stream: bool) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=0)
    async with saying(live, session, stream=stream) as turn:
        path = await running_turn(redis, session)
        told = (await cancel(live, path)).raise_for_status().json()
        assert_error(await turn, 409, code="turn_cancelled")
        assert (await turn).headers["x-should-retry"] == "false"
    assert (told["message_id"], told["finish_reason"], told["version"]) == (None, None, 1)
    assert await said(live, session) == []
    assert (await cancel(live, path)).json() == told
    resume(live)
    assert (await live.client.post(f"{session}/messages", json={"content": "Hello."})).json()["version"] == 2


async def test_several_replies_are_cancelled_together(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    live.engine.script = Script(says=["one " * 40, "two " * 40], hold_after=2)
    async with saying(live, session, stream=True, n=2):
        told = (await cancel(live, await running_turn(redis, session))).json()
    assert told["message_ids"][0] == told["message_id"] == (await said(live, session))[1]["id"]
    assert len(told["message_ids"]) == 2


async def test_turn_is_cancelled_from_another_server(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with two_servers(renderer, redis_url) as (one, other):
        session = await open_session(one)
        one.engine.script = Script(hold_after=3)
        async with saying(one, session, stream=True) as turn:
            told = (await cancel(other, await running_turn(redis, session))).raise_for_status().json()
            assert ending((await turn).text)["message_id"] == told["message_id"]
        assert (await said(other, session))[1]["content"] == SPOKEN
        assert not one.engine.running


async def test_resumable_turn_is_cancelled_for_all_who_hear_it(
    renderer: Renderer, redis: Redis, redis_url: str
) -> None:
    async with two_servers(renderer, redis_url) as (one, other):
        begun = await begin(one, await open_session(one))
        reader = asyncio.create_task(follow(other, begun))
        await until(lambda: gauge(other, "streams_followed") == 1, "somebody follows")
        told = (await cancel(other, begun.path)).raise_for_status().json()
        text = await reader
        assert spoken(text) == SPOKEN
        assert ending(text)["message_id"] == told["message_id"]
        assert gauge(one, "turns_detached") == 0


async def test_resumable_turn_that_said_nothing_ends_with_an_error(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=0)
    async with saying(live, session, stream=True, resumable=True) as turn:
        path = await running_turn(redis, session)
        await cancel(live, path)
        assert_error(await turn, 409, code="turn_cancelled")
    text = await follow(live, Begun(session, path.rpartition("/")[2], "", 0))
    assert [told["error"]["code"] for told in payloads(text)] == ["turn_cancelled"]


async def test_turn_that_is_over_is_told_as_it_ended(live: Live) -> None:
    session = await open_session(live)
    turn = (await live.client.post(f"{session}/messages", json={"content": "Hello."})).json()
    told = (await cancel(live, f"{session}/turns/{turn['turn_id']}")).json()
    assert (told["message_id"], told["finish_reason"], told["version"]) == (turn["message_id"], "stop", 2)


async def test_completion_in_a_session_is_cancelled(live: Live) -> None:
    live.engine.script = Script(hold_after=3)
    body = {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}], "stream": True}
    async with live.client.stream("POST", CHAT, json=body, headers={"X-Session-Id": "tea"}) as answer:
        await live.engine.held.wait()
        told = (await cancel(live, f"/sessions/tea/turns/{answer.headers['x-turn-id']}")).json()
        assert ending((await answer.aread()).decode())["message_id"] == told["message_id"]


async def test_turn_is_cancelled_though_its_client_takes_nothing(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(words=100)
    client = SlowClient()
    body = {"content": "Hello.", "stream": True, "max_tokens": 100}
    answering = asyncio.create_task(client.post(live, f"{session}/messages", body))
    await until(lambda: client.turn_id, "the stream begins")
    told = (await cancel(live, f"{session}/turns/{client.turn_id}")).raise_for_status().json()
    assert not live.engine.running
    assert (await said(live, session))[1]["id"] == told["message_id"]
    client.taking.set()
    await answering
    # A frame is missing: nobody may take it for all that was said.
    error = ending(client.text)["error"]
    assert error["code"] == "turn_cancelled"
    assert "kept" in error["message"]


async def test_turn_is_cancelled_by_several_at_once(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with two_servers(renderer, redis_url) as (one, other):
        begun = await begin(one, await open_session(one))
        answers = await asyncio.gather(*(cancel(server, begun.path) for server in (one, other, one, other)))
        assert len({answer.text for answer in answers}) == 1
        assert len(await said(one, begun.session)) == 2


async def test_nobody_looks_for_stops_while_nothing_runs(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    asked = Stops.asked

    async def count(stops: Stops, turns: Sequence[tuple[str, str]]) -> list[bool]:
        looked.append(len(turns))
        return await asked(stops, turns)

    monkeypatch.setattr(Stops, "asked", count)
    running = live.app.state.turns.running
    begun = await begin(live, await open_session(live))
    await until(lambda: looked, "the server looks")
    resume(live)
    await follow(live, begun)
    await until(lambda: not running._in_sessions.is_set(), "nothing runs")
    assert set(looked) == {1}
