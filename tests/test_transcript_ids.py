"""Transcripts without a session: the ids of their replies are kept, and their prompts only grow."""

import time
from itertools import pairwise

import pytest

from app.store import transcripts
from app.store.connection import connect
from app.store.transcripts import TranscriptStore
from models.examples import Line
from tests.live import Live
from tests.transcripts import Messages, ask, assistant, begin_anew, kept_keys, reply, talk, user


@pytest.fixture
async def live(running: Live) -> Live:
    return await begin_anew(running)


@pytest.mark.anyio
@pytest.mark.parametrize("model", ["lyra", "fake"])
@pytest.mark.parametrize("stream", [False, True])
async def test_prompts_of_a_growing_transcript_only_grow(live: Live, model: str, stream: bool) -> None:
    shown: Messages = []
    for number in range(5):
        shown.append(user(f"Number {number}."))
        answer = await ask(live, shown, None, model=model, stream=stream)
        said = "".join(f"word{index} " for index in range(6))
        assert ("word5" in answer.text) == (answer.status_code == 200)
        shown.append(assistant(said.strip()))
    prompts = live.engine.prompts
    assert all(after[: len(before)] == before for before, after in pairwise(prompts))
    # What was generated, not what encoding its text would give.
    generated = [token for index in range(6) for token in live.engine.renderer.encode(f"word{index} ")]
    assert live.engine.renderer.encode(said.strip()) != generated
    assert prompts[-1][len(prompts[-2]) :][: len(generated)] == generated


@pytest.mark.anyio
async def test_continued_reply_goes_on_from_its_own_ids(live: Live) -> None:
    shown = await talk(live, 1, None)
    await reply(live, shown, None)
    first, continued = live.engine.prompts
    generated = [token for index in range(6) for token in live.engine.renderer.encode(f"word{index} ")]
    assert continued == first + generated


@pytest.mark.anyio
async def test_reply_that_the_client_has_trimmed_is_continued_to_the_letter(live: Live) -> None:
    shown = await talk(live, 1, None)
    trimmed = shown[1]["content"].strip()
    assert trimmed != shown[1]["content"]
    await reply(live, [shown[0], assistant(trimmed)], None)
    first, continued = live.engine.prompts
    assert continued == first + live.engine.renderer.encode(trimmed)


@pytest.mark.anyio
async def test_ids_of_another_character_or_transcript_are_not_read(live: Live) -> None:
    shown = await talk(live, 1, None)
    text = shown[1]["content"]
    for changed, model in ((shown, "osbern"), ([user("Another beginning."), shown[1]], "lyra")):
        await reply(live, [*changed, user("And now?")], None, model=model)
        prompt = live.engine.renderer.decode(live.engine.prompts[-1])
        assert text.strip() + "<|eot_id|>" in prompt


@pytest.mark.anyio
async def test_store_that_is_full_costs_a_transcript_nothing(live: Live) -> None:
    redis = live.app.state.redis
    await redis.config_set("maxmemory", 1)
    try:
        await talk(live, 1, None, model="fake")
    finally:
        await redis.config_set("maxmemory", 0)
    assert not await kept_keys(live)


@pytest.mark.anyio
async def test_store_that_does_not_answer_costs_a_transcript_little(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcripts, "PATIENCE_S", 0.02)
    shown = await talk(live, 1, None, model="fake")
    await live.app.state.redis.execute_command("CLIENT", "PAUSE", "300", "ALL")
    before = time.perf_counter()
    assert await reply(live, [*shown, user("And now?")], None, model="fake")
    assert time.perf_counter() - before < 0.25
    await live.app.state.redis.ping()


@pytest.mark.anyio
async def test_unreachable_store_knows_nothing() -> None:
    said = [Line("user", "One."), Line("assistant", "Two."), Line("user", "Three.")]
    async with connect("redis://127.0.0.1:1") as nowhere:
        store = TranscriptStore(nowhere)
        await store.keep("scope", said, [("Four.", [1, 2])])
        assert await store.read("scope", said) == {}


@pytest.mark.anyio
async def test_kept_ids_are_in_one_slot_and_expire(live: Live) -> None:
    await talk(live, 3, None)
    keys = await kept_keys(live)
    assert len(keys) == 3
    assert len({key[: key.index("}")] for key in keys}) == 1
    assert all([0 < await live.app.state.redis.ttl(key) <= transcripts.KEPT_S for key in keys])


@pytest.mark.anyio
async def test_ids_that_encoding_gives_are_not_kept(live: Live) -> None:
    live.engine.script.says = ["Hello."]
    await talk(live, 1, None)
    assert not await kept_keys(live)
