"""Resumable turns: a dropped connection costs nothing, whichever server is asked next."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from app.api.chat import resumable
from models.engine import EngineDeadError
from models.renderer import Renderer
from tests.fake_engine import FakeEngine, Script
from tests.faults import both, gauge, open_session, resume, said, until
from tests.live import Live, serve_live
from tests.refusals import CHAT, assert_error
from tests.resumable import Begun, SlowClient, begin, ending, follow, frames, numbers, payloads, spoken, two_servers

pytestmark = pytest.mark.anyio

STREAMED: dict[str, Any] = {"content": "Hello.", "stream": True, "resumable": True}
WORDS = "word0 word1 word2 word3 word4 word5 "
NEVER = f"turn_{'0' * 32}"


def turn_key(begun: Begun) -> str:
    return f"oc:{{{begun.session.rpartition('/')[2]}}}:turn:{begun.turn_id}"


async def test_frames_are_numbered_and_otherwise_the_same(live: Live) -> None:
    session = await open_session(live)
    plain = await live.client.post(f"{session}/messages", json={"content": "Hello.", "stream": True})
    answer = await live.client.post(f"{session}/messages", json=STREAMED)
    assert numbers(answer.text) == list(range(1, len(frames(answer.text)) + 1))
    first, *others = payloads(answer.text)
    assert first["turn_id"] == answer.headers["x-turn-id"] == others[-1]["turn_id"]
    assert "id: " not in plain.text
    assert spoken(answer.text) == spoken(plain.text) == WORDS
    assert [set(told) for told in others] == [set(told) for told in payloads(plain.text)[1:]]


async def test_turn_goes_on_without_its_client_and_is_heard_again(live: Live) -> None:
    begun = await begin(live, await open_session(live))
    await until(lambda: gauge(live, "turns_detached") == 1, "the turn goes on alone")
    assert live.engine.running
    assert (await live.client.get(begun.session)).json()["turn_id"] == begun.turn_id
    following = asyncio.create_task(follow(live, begun, begun.number))
    await until(lambda: gauge(live, "streams_followed") == 1, "somebody follows")
    resume(live)
    rest = await following
    assert numbers(rest)[0] == begun.number + 1
    told = await said(live, begun.session)
    assert [message["content"] for message in told] == ["Hello.", WORDS]
    assert told[1]["finish_reason"] == "stop"
    assert spoken(begun.heard + rest) == WORDS
    assert ending(rest)["message_id"] == told[1]["id"]
    assert (gauge(live, "turns_detached"), gauge(live, "streams_followed")) == (0, 0)
    assert "turn_id" not in (await live.client.get(begun.session)).json()


async def test_whole_turn_is_heard_again_from_any_frame(live: Live) -> None:
    session = await open_session(live)
    answer = await live.client.post(f"{session}/messages", json=STREAMED)
    begun = Begun(session, answer.headers["x-turn-id"], answer.text, 0)
    whole = frames(answer.text)
    assert frames(await follow(live, begun)) == whole
    for after in range(len(whole)):
        assert frames(await follow(live, begun, after)) == whole[after:]
    # As browsers come back, who then leave it at that.
    again = await live.client.get(f"{begun.stream}?starting_after=1", headers={"Last-Event-ID": str(len(whole))})
    assert (again.status_code, again.content) == (204, b"")
    begin_again = await live.client.get(f"{begun.stream}?starting_after=5", headers={"Last-Event-ID": "0"})
    assert frames(begin_again.text) == whole
    told = assert_error(await live.client.get(f"{begun.stream}?starting_after=99"), 400, param="starting_after")
    assert str(len(whole)) in told


async def test_turn_is_followed_by_several_from_both_servers(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with two_servers(renderer, redis_url) as (one, other):
        begun = await begin(one, await open_session(one))
        readers = [asyncio.create_task(follow(server, begun)) for server in (one, other, other)]
        await until(lambda: gauge(one, "streams_followed") + gauge(other, "streams_followed") == 3, "all follow")
        resume(one)
        texts = await asyncio.gather(*readers)
        assert [spoken(text) for text in texts] == [WORDS] * 3
        assert texts[0] == texts[1] == texts[2]


@both
async def test_json_is_answered_as_ever_and_can_be_followed(live: Live, stream: bool) -> None:
    session = await open_session(live)
    body = {"content": "Hello.", "resumable": True, "stream": stream}
    answer = await live.client.post(f"{session}/messages", json=body)
    turn_id = answer.headers["x-turn-id"] if stream else answer.json()["turn_id"]
    if not stream:
        assert answer.json()["message"]["content"] == WORDS
        assert answer.json()["version"] == 2
    assert spoken(await follow(live, Begun(session, turn_id, "", 0))) == WORDS


async def test_client_gone_while_it_waits_for_json_loses_nothing(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=2)
    body = {"content": "Hello.", "resumable": True}
    task = asyncio.create_task(live.client.post(f"{session}/messages", json=body))
    await live.engine.held.wait()
    task.cancel()
    await until(lambda: gauge(live, "turns_detached") == 1, "the turn goes on alone")
    resume(live)
    await until(lambda: gauge(live, "turns_detached") == 0, "the turn is over")
    assert [message["content"] for message in await said(live, session)] == ["Hello.", WORDS]


@pytest.mark.parametrize("entry", ["regenerate", "continue", "impersonate"])
async def test_every_kind_of_turn_can_be_resumed(live: Live, entry: str) -> None:
    session = await open_session(live)
    await live.client.post(f"{session}/messages", json={"content": "Hello."})
    answer = await live.client.post(f"{session}/{entry}", json={"stream": True, "resumable": True})
    assert spoken(await follow(live, Begun(session, answer.headers["x-turn-id"], "", 0))) == WORDS


async def test_channels_and_swipes_are_heard_again_as_they_were(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(says=["Hm. *She looks up.* Good evening.", "*She sighs.* You again."])
    body = {"content": "Hello.", "n": 2, "stream": True, "resumable": True, "channels": "separate"}
    answer = await live.client.post(f"{session}/messages", json=body)
    assert await follow(live, Begun(session, answer.headers["x-turn-id"], "", 0)) == answer.text
    assert len(ending(answer.text)["message_ids"]) == 2


async def test_completion_in_a_session_can_be_resumed(live: Live) -> None:
    body: dict[str, Any] = {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}], "resumable": True}
    assert_error(await live.client.post(CHAT, json=body), 400, param="resumable")
    live.engine.script = Script(hold_after=2)
    asked = body | {"stream": True}
    async with live.client.stream("POST", CHAT, json=asked, headers={"X-Session-Id": "tea"}) as answer:
        assert await anext(answer.aiter_lines()) == "id: 1"
    resume(live)
    assert spoken(await follow(live, Begun("/sessions/tea", answer.headers["x-turn-id"], "", 0))) == WORDS


async def test_openai_client_reads_numbered_frames(live: Live) -> None:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(
        base_url=f"{live.client.base_url}/v1", api_key="none", max_retries=0, _strict_response_validation=True
    ) as api:
        chunks = await api.chat.completions.create(
            model="lyra",
            messages=[{"role": "user", "content": "Hello."}],
            stream=True,
            extra_headers={"X-Session-Id": "tea"},
            extra_body={"resumable": True},
        )
        told = [chunk async for chunk in chunks]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in told) == WORDS
    assert told[0].model_extra
    assert told[0].model_extra["turn_id"].startswith("turn_")


async def test_turn_that_is_not_resumable_says_so_and_then_where_it_is(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=1)
    body = {"content": "Hello.", "stream": True}
    async with live.client.stream("POST", f"{session}/messages", json=body) as answer:
        stream = f"{session}/turns/{answer.headers['x-turn-id']}/stream"
        assert_error(await live.client.get(stream), 404, code="turn_not_resumable")
        resume(live)
        await answer.aread()
    told = assert_error(await live.client.get(stream), 404, code="stream_expired")
    assert (await said(live, session))[1]["id"] in told


async def test_stream_that_ran_out_names_the_message(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    answer = await live.client.post(f"{session}/messages", json=STREAMED)
    begun = Begun(session, answer.headers["x-turn-id"], "", 0)
    assert 0 < await redis.ttl(turn_key(begun)) <= 3600
    await redis.delete(turn_key(begun))
    told = assert_error(await live.client.get(begun.stream), 404, code="stream_expired")
    assert ending(answer.text)["message_id"] in told
    # Copies of the message are not the turn's.
    forked = (await live.client.post(f"{session}/fork", json={})).json()["id"]
    assert_error(await live.client.get(f"/sessions/{forked}/turns/{begun.turn_id}/stream"), 404, code="turn_not_found")


@pytest.mark.parametrize("number", ["-1", "two", "1.5", "9" * 16, "٣"])
async def test_number_that_is_none_is_refused(live: Live, number: str) -> None:
    stream = f"{await open_session(live)}/turns/{NEVER}/stream"
    assert_error(await live.client.get(stream, params={"starting_after": number}), 400, param="starting_after")


async def test_turn_that_never_was_is_unknown(live: Live) -> None:
    session, other = await open_session(live), await open_session(live)
    for wrong in ("turn_1", "msg_1", NEVER.upper(), "x" * 3000):
        assert_error(await live.client.get(f"{session}/turns/{wrong}/stream"), 400, code="invalid_turn_id")
        assert_error(await live.client.post(f"{session}/turns/{wrong}/cancel"), 400, code="invalid_turn_id")
    answer = await live.client.post(f"{session}/messages", json=STREAMED)
    for path, code in [
        (f"{session}/turns/{NEVER}", "turn_not_found"),
        (f"{other}/turns/{answer.headers['x-turn-id']}", "turn_not_found"),
        (f"/sessions/nowhere/turns/{NEVER}", "session_not_found"),
    ]:
        assert_error(await live.client.get(f"{path}/stream"), 404, code=code)
        assert_error(await live.client.post(f"{path}/cancel"), 404, code=code)


@both
async def test_failure_before_the_first_word_is_a_status_and_an_end(live: Live, redis: Redis, stream: bool) -> None:
    session = await open_session(live)
    live.engine.script = Script(fail_after=0, failure=EngineDeadError("killed by a test"))
    body = {"content": "Hello.", "stream": stream, "resumable": True}
    assert_error(await live.client.post(f"{session}/messages", json=body), 503, code="engine_dead")
    [key] = [key async for key in redis.scan_iter("oc:*:turn:*")]
    told = await follow(live, Begun(session, key.decode().rpartition(":")[2], "", 0))
    assert ending(told)["error"]["code"] == "engine_dead"
    assert numbers(told) == [1, 2]


@both
async def test_failure_in_mid_reply_ends_every_stream(live: Live, stream: bool) -> None:
    session = await open_session(live)
    live.engine.script = Script(fail_after=3, failure=EngineDeadError("killed by a test"))
    body = {"content": "Hello.", "stream": stream, "resumable": True}
    answer = await live.client.post(f"{session}/messages", json=body)
    if stream:
        assert ending(answer.text)["error"]["code"] == "engine_dead"
        assert await follow(live, Begun(session, answer.headers["x-turn-id"], "", 0)) == answer.text
    else:
        assert_error(answer, 503, code="engine_dead")
        assert answer.headers["x-should-retry"] == "false"
    assert [message["content"] for message in await said(live, session)] == ["Hello.", "word0 word1 word2 "]


async def test_session_erased_in_mid_turn_leaves_no_frames(live: Live, redis: Redis) -> None:
    begun = await begin(live, await open_session(live))
    following = asyncio.create_task(follow(live, begun))
    await until(lambda: gauge(live, "streams_followed") == 1, "somebody follows")
    assert (await live.client.delete(begun.session)).status_code == 204
    assert ending(await following)["error"]["code"] == "session_not_found"
    resume(live)
    await until(lambda: gauge(live, "turns_detached") == 0, "the turn is over")
    assert await redis.keys(f"*{begun.session.rpartition('/')[2]}*") == []


async def test_erased_session_leaves_no_frames(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    for _ in range(2):
        await live.client.post(f"{session}/messages", json={"content": "Hello.", "resumable": True})
    await live.client.delete(session)
    assert await redis.keys(f"*{session.rpartition('/')[2]}*") == []


async def test_slow_client_holds_nothing_up_and_is_left_behind(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "MOST_BEHIND_BYTES", 5000)
    session = await open_session(live)
    live.engine.script = Script(words=100)
    client = SlowClient()
    answering = asyncio.create_task(client.post(live, f"{session}/messages", STREAMED | {"max_tokens": 100}))
    await until(lambda: gauge(live, "sessions_committed_total") == 1, "the turn is over")
    assert not answering.done()
    client.taking.set()
    await answering
    # The first two frames came in one piece.
    assert numbers(client.text) == [1, 2]
    assert len(numbers(await follow(live, Begun(session, client.turn_id, "", 0)))) == 104


async def test_turn_without_clients_is_cut_short_by_the_end_of_the_server(
    renderer: Renderer, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.main.DRAIN_S", 0.05)
    async with serve_live(FakeEngine(renderer), redis_url) as other:
        live = serve_live(FakeEngine(renderer), redis_url)
        async with live as one:
            begun = await begin(one, await open_session(one))
            # The engine says nothing more, though the server waits for it.
            monkeypatch.setattr(one.engine, "go", asyncio.Event())
        told = await follow(other, begun)
        assert spoken(told) == "word0 word1 word2 "
        reply = (await said(other, begun.session))[1]
        assert (reply["content"], reply["finish_reason"]) == ("word0 word1 word2 ", "interrupted")
        assert ending(told)["message_id"] == reply["id"]


async def test_more_followers_than_the_server_takes_are_refused(
    renderer: Renderer, redis: Redis, redis_url: str
) -> None:
    async with serve_live(FakeEngine(renderer), redis_url, max_concurrent_requests=1) as live:
        begun = await begin(live, await open_session(live))
        async with live.client.stream("GET", begun.stream) as first:
            assert await anext(first.aiter_lines()) == "id: 1"
            assert_error(await live.client.get(begun.stream), 503, code="overloaded")
        resume(live)


async def test_gap_in_what_is_kept_is_told(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    live.engine.script = Script(words=40, gap_s=0.01)
    body = {"content": "Hello.", "stream": True, "resumable": True, "max_tokens": 200}
    answer = await live.client.post(f"{session}/messages", json=body)
    begun = Begun(session, answer.headers["x-turn-id"], "", 0)
    await redis.xtrim(turn_key(begun), maxlen=1)
    assert_error(await live.client.get(begun.stream), 404, code="stream_expired")


async def test_follower_that_leaves_is_forgotten(live: Live) -> None:
    begun = await begin(live, await open_session(live))
    async with live.client.stream("GET", begun.stream) as answer:
        assert await anext(answer.aiter_lines()) == "id: 1"
        assert gauge(live, "streams_followed") == 1
    await until(lambda: gauge(live, "streams_followed") == 0, "nobody follows")
    assert gauge(live, "turns_detached") == 1
    resume(live)


async def test_turn_that_was_lost_from_sight_is_told_again_by_its_key(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=2)
    path, headers = f"{session}/messages", {"Idempotency-Key": "tea-1"}
    async with live.client.stream("POST", path, json=STREAMED, headers=headers) as answer:
        assert await anext(answer.aiter_lines()) == "id: 1"
    await until(lambda: gauge(live, "turns_detached") == 1, "the turn goes on alone")
    assert_error(await live.client.post(path, json=STREAMED, headers=headers), 409, code="session_busy")
    resume(live)
    await follow(live, Begun(session, answer.headers["x-turn-id"], "", 0))
    again = await live.client.post(path, json=STREAMED, headers=headers)
    assert spoken(again.text) == WORDS
    assert ending(again.text)["turn_id"] == answer.headers["x-turn-id"]
    assert len(await said(live, session)) == 2
