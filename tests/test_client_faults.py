"""The client goes while it is answered: the engine stops, and what was spoken is kept."""

import httpx
import pytest

from tests.conftest import wait_until
from tests.fake_engine import Script
from tests.faults import both, gauge, open_session, resume, said, saying, until
from tests.live import Live


@pytest.mark.anyio
@both
async def test_client_gone_before_the_first_byte_leaves_nothing(live: Live, stream: bool) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=0)
    async with saying(live, session, stream=stream) as turn:
        assert gauge(live, "requests_waiting") == 1
        turn.cancel()
        await until(lambda: not live.engine.running, "the engine was told", 1)
    await until(lambda: gauge(live, "requests_waiting") == 0, "the turn is over", 1)
    assert len(live.engine.aborted) == 1
    assert await said(live, session) == []
    resume(live)
    assert (await live.client.post(f"{session}/messages", json={"content": "Hello."})).json()["version"] == 2


@pytest.mark.anyio
async def test_client_gone_in_mid_stream_keeps_what_was_spoken(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=3)
    body = {"content": "Hello.", "stream": True}
    async with live.client.stream("POST", f"{session}/messages", json=body) as response:
        async for line in response.aiter_lines():
            if "word2" in line:
                break
        assert gauge(live, "requests_running") == 1
    await until(lambda: not live.engine.running, "the engine was told", 1)
    await until(lambda: gauge(live, "requests_running") == 0, "the turn is over", 1)
    asked, reply = await said(live, session)
    assert asked["content"] == "Hello."
    assert (reply["content"], reply["finish_reason"]) == ("word0 word1 word2 ", "interrupted")


@pytest.mark.anyio
async def test_client_gone_while_it_waits_for_json_keeps_what_was_spoken(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=3)
    async with saying(live, session, stream=False) as turn:
        turn.cancel()
        await until(lambda: not live.engine.running, "the engine was told", 1)
    await until(lambda: gauge(live, "requests_running") == 0, "the turn is over", 1)
    assert [message.get("finish_reason") for message in await said(live, session)] == [None, "interrupted"]


@pytest.mark.anyio
async def test_chat_goes_on_from_an_interrupted_reply(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=3)
    async with saying(live, session, stream=True) as turn:
        turn.cancel()
        await until(lambda: not live.engine.running, "the engine was told", 1)
    await until(lambda: gauge(live, "requests_running") == 0, "the turn is over", 1)
    resume(live)
    (await live.client.post(f"{session}/messages", json={"content": "Go on."})).raise_for_status()
    before, after = live.engine.prompts
    spoken = [token for number in range(3) for token in live.engine.renderer.encode(f"word{number} ")]
    assert after[: len(before) + len(spoken)] == before + spoken


@pytest.mark.anyio
async def test_client_of_chat_completions_gone_stops_the_engine(live: Live) -> None:
    live.engine.script = Script(hold_after=2)
    body = {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}], "stream": True}
    async with live.client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert await anext(response.aiter_lines())
    await until(lambda: not live.engine.running, "the engine was told", 1)
    await until(lambda: gauge(live, "requests_running") == 0, "the turn is over", 1)


def test_client_gone_stops_the_real_engine(client: httpx.Client) -> None:
    session = f"/sessions/{client.post('/sessions', json={'character_id': 'lyra'}).json()['id']}"
    body = {"content": "Hello.", "stream": True, "max_tokens": 2000, "ignore_eos": True}
    with client.stream("POST", f"{session}/messages", json=body) as response:
        lines = response.iter_lines()
        while '"content":""' in (line := next(lines)) or not line:
            pass

    def running() -> bool:
        return "opencharacter_requests_running 0.0" not in client.get("/metrics").text

    wait_until(lambda: not running(), "nothing runs", 5)
    reply = client.get(f"{session}/messages").json()["messages"][-1]
    assert (reply["role"], reply["finish_reason"]) == ("assistant", "interrupted")
