"""Prompts that are read between turns, ahead of those to come; and that no turn ever waits or fails for it."""

import asyncio

import pytest
from redis.asyncio import Redis

from models.engine import Adapter, EngineError
from models.renderer import Renderer
from tests.cuts import metric
from tests.fake_engine import FakeEngine, Script
from tests.live import Live, serve_live
from tests.memories import open_chat, rest, say, wait_for

pytestmark = pytest.mark.anyio


@pytest.fixture
async def live(live: Live) -> Live:
    """The application, at work as soon as a turn has ended."""
    live.app.state.turns.afterwards.pause_s = 0.0
    return live


async def test_head_is_read_when_a_session_is_opened(live: Live) -> None:
    path = await open_chat(live)
    await rest(live)
    await say(live, path)
    (ahead,) = live.engine.prefilled[:1]
    assert len(ahead) > 400
    assert live.engine.prompts[0][: len(ahead)] == ahead


async def test_head_that_was_read_lately_is_not_read_again(live: Live) -> None:
    for _ in range(3):
        await open_chat(live)
        await rest(live)
    assert len(live.engine.prefilled) == 1


async def test_what_the_next_prompt_begins_with_is_read_after_each_turn(live: Live) -> None:
    path = await open_chat(live)
    for number in range(3):
        await say(live, path, f"Hello {number}.")
        await rest(live)
    read = list(live.engine.prefilled)
    await say(live, path)
    assert len(read[-1]) > len(live.engine.prompts[-2])
    assert live.engine.prompts[-1][: len(read[-1])] == read[-1]


async def test_what_an_edit_leaves_is_read_ahead(live: Live) -> None:
    path = await open_chat(live)
    await say(live, path)
    await rest(live)
    first = (await live.client.get(f"{path}/messages")).json()["messages"][0]["id"]
    (await live.client.patch(f"{path}/messages/{first}", json={"content": "Who is there?"})).raise_for_status()
    await rest(live)
    read = live.engine.prefilled[-1]
    await say(live, path)
    assert live.engine.prompts[-1][: len(read)] == read
    assert "Who is there?" in live.engine.renderer.decode(read)


async def test_sessions_of_openai_clients_are_read_ahead_too(live: Live) -> None:
    async def ask(text: str) -> None:
        body = {"model": "lyra", "messages": [{"role": "user", "content": text}]}
        answer = await live.client.post("/v1/chat/completions", json=body, headers={"X-Session-Id": "sam"})
        answer.raise_for_status()
        await rest(live)

    await ask("Hello.")
    read = live.engine.prefilled[-1]
    await ask("And now?")
    assert live.engine.prompts[-1][: len(read)] == read


async def test_nothing_is_read_ahead_where_nothing_stays_in_its_place(live: Live) -> None:
    card = {"name": "Odo", "extensions": {"opencharacter": {"layout": "compat"}}}
    path = await open_chat(live, character_id=(await live.client.post("/characters", json=card)).json()["id"])
    await say(live, path)
    await rest(live)
    assert live.engine.prefilled == []


async def test_tokens_read_ahead_are_counted(live: Live) -> None:
    path = await open_chat(live)
    await say(live, path)
    await rest(live)
    assert await metric(live, "prewarmed_tokens_total") == sum(map(len, live.engine.prefilled)) > 0
    assert await metric(live, 'prewarms_total{outcome="done"}') == len(live.engine.prefilled)


async def test_nothing_is_read_ahead_under_load(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with serve_live(FakeEngine(renderer), redis_url, prewarm_below=1) as live:
        other = await open_chat(live)
        await rest(live)
        read = len(live.engine.prefilled)
        live.engine.script = Script(hold_after=2)
        running = asyncio.create_task(say(live, other))
        await live.engine.held.wait()
        live.engine.script = Script()
        await say(live, await open_chat(live))
        await rest(live)
        assert len(live.engine.prefilled) == read
        assert await metric(live, 'prewarms_total{outcome="busy"}') >= 1
        live.engine.go.set()
        await running


async def test_next_turn_ends_what_is_read_ahead(live: Live) -> None:
    path = await open_chat(live)
    await rest(live)
    live.engine.script = Script(hold_prefills=True)
    await say(live, path)
    await wait_for(lambda: live.engine.prefilling, "reading ahead")
    (held,) = live.engine.prefilling
    await say(live, path)
    assert held not in live.engine.prefilling
    assert await metric(live, 'prewarms_total{outcome="overtaken"}') == 1


async def test_engine_that_fails_to_read_ahead_answers_all_the_same(
    renderer: Renderer, redis: Redis, redis_url: str
) -> None:
    class Failing(FakeEngine):
        async def prefill(
            self,
            prompt_token_ids: list[int],
            *,
            request_id: str,
            cache_salt: str | None = None,
            adapter: Adapter | None = None,
            known: int = 0,
        ) -> int:
            raise EngineError("no room")

    async with serve_live(Failing(renderer), redis_url) as live:
        path = await open_chat(live)
        for _ in range(2):
            await rest(live)
            await say(live, path)
        assert await metric(live, 'prewarms_total{outcome="failed"}') == 2


async def test_server_stops_while_it_reads_ahead(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with serve_live(FakeEngine(renderer, Script(hold_prefills=True)), redis_url) as live:
        await open_chat(live)
        await wait_for(lambda: live.engine.prefilling, "reading ahead")
        engine = live.engine
    assert engine.prefilling == []
