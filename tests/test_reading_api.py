"""A text read over HTTP: progress as it goes, a version for each piece, and nothing gathered is lost."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from models.engine import TURN, Adapter, Chunk, EngineError, SamplingParams
from models.renderer import Renderer
from tests.fake_engine import FakeEngine
from tests.live import PATIENCE_S, Live, serve_live
from tests.refusals import assert_error
from tests.synthesis import CONTEXT, SYNTHESIZE, count, say, schema, stream, synthesize, told, write

pytestmark = pytest.mark.anyio

TEXT = " ".join(f"On day {day} Lyra went down to the harbour, and nobody saw her come back." for day in range(150))
# As the engine is asked about three pieces of it.
VERSIONS = [
    write(name="Lyra", age="40", goal="to leave"),
    write(name="Lyra", age="41", goal="to leave"),
    write(name="Lyra", age="41", goal="to stay"),
]


class Pausing(FakeEngine):
    """Stops in the second piece."""

    async def generate(
        self,
        prompt_token_ids: list[int],
        params: SamplingParams,
        *,
        request_id: str,
        cache_salt: str | None = None,
        priority: int = TURN,
        adapter: Adapter | None = None,
    ) -> AsyncGenerator[Chunk]:
        self.script.hold_after = 2 if self.prompts else None
        async with aclosing(super().generate(prompt_token_ids, params, request_id=request_id)) as chunks:
            async for chunk in chunks:
                yield chunk


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    """An engine that reads the text in three pieces."""
    async with serve_live(FakeEngine(renderer, max_model_len=CONTEXT), redis_url) as running:
        say(running, *VERSIONS)
        yield running


def profile(made: dict[str, Any]) -> tuple[str, str]:
    return made["profile"]["age"], made["profile"]["goal"]


async def test_text_is_read_to_its_end(live: Live) -> None:
    answer = await synthesize(live, text=TEXT, name="Lyra")
    made = answer.json()
    assert answer.status_code == 201
    assert len(live.engine.prompts) == 3
    assert made["reading"] == {"read": 3, "pieces": 3, "error": None}
    assert (made["data"]["name"], profile(made), made["persona"]) == ("Lyra", ("41", "to stay"), "")
    assert answer.headers["location"] == f"/characters/{made['id']}"


async def test_each_piece_is_read_with_what_was_known_before(live: Live) -> None:
    await synthesize(live, text=TEXT, name="Lyra", dry_run=True)
    assert told(live, 0).startswith("Lyra, of whom a text says: On day 0 Lyra")
    assert "Age: 40;" in told(live, 1)
    assert "Age: 41;" in told(live, 2)
    assert told(live, 2).endswith("On day 149 Lyra went down to the harbour, and nobody saw her come back.")
    assert schema(live)["name"] == {"const": "Lyra"}


async def test_character_has_a_version_for_each_piece(live: Live) -> None:
    made = (await synthesize(live, text=TEXT, name="Lyra")).json()
    stored = (await live.client.get(f"/characters/{made['id']}")).json()
    assert made["version"] == stored["version"] == 3
    assert profile(stored) == ("41", "to stay")


async def test_piece_that_tells_nothing_new_makes_no_version(live: Live) -> None:
    say(live, VERSIONS[0])
    made = (await synthesize(live, text=TEXT, name="Lyra")).json()
    assert (made["version"], made["reading"]["read"]) == (1, 3)


async def test_stream_tells_the_piece_and_what_it_changed(live: Live) -> None:
    *frames, made = await stream(live, text=TEXT, name="Lyra")
    progress = [frame for frame in frames if "piece" in frame]
    assert progress[0] == {"piece": 0, "pieces": 3}
    assert [frame["piece"] for frame in progress] == [0, 1, 2, 3]
    assert [frame["changed"] for frame in progress[2:]] == [["age"], ["goal"]]
    assert [(frame["id"], frame["version"]) for frame in progress[1:]] == [(made["id"], n) for n in (1, 2, 3)]
    fields = [(frame["field"], frame["value"]) for frame in frames if "field" in frame]
    assert fields[-2:] == [("age", "41"), ("goal", "to stay")]
    assert len(fields) == 13 + 2


async def test_last_piece_has_the_variations(live: Live) -> None:
    say(live, *VERSIONS, write(name="Lyra", age="90"))
    made = (await synthesize(live, text=TEXT, name="Lyra", n=2)).json()["characters"]
    assert [params.n for params in live.engine.params] == [1, 1, 2]
    assert [(one["version"], one["profile"]["age"]) for one in made] == [(3, "41"), (1, "90")]
    assert made[0]["id"] != made[1]["id"]


async def test_dry_run_of_a_reading_saves_nothing(live: Live) -> None:
    before = await count(live)
    made = (await synthesize(live, text=TEXT, name="Lyra", dry_run=True)).json()
    assert (made["id"], made["version"], profile(made)) == (None, 0, ("41", "to stay"))
    assert await count(live) == before


async def test_failure_in_the_middle_keeps_what_was_gathered(live: Live) -> None:
    say(live, *VERSIONS[:2], "{}")
    made = (await synthesize(live, text=TEXT, name="Lyra")).json()
    assert profile(made) == ("41", "to leave")
    assert made["reading"]["error"]["code"] == "synthesis_failed"
    assert (made["reading"]["read"], made["version"]) == (2, 2)
    assert (await live.client.get(f"/characters/{made['id']}")).json()["version"] == 2


async def test_failure_before_the_variations_keeps_their_shape(live: Live) -> None:
    say(live, VERSIONS[0], "{}")
    [made] = (await synthesize(live, text=TEXT, name="Lyra", n=3)).json()["characters"]
    assert profile(made) == ("40", "to leave")
    assert made["reading"]["error"]["code"] == "synthesis_failed"


async def test_character_that_is_deleted_meanwhile_ends_the_reading(
    renderer: Renderer, redis: Redis, redis_url: str
) -> None:
    async with serve_live(Pausing(renderer, max_model_len=CONTEXT), redis_url) as live:
        say(live, *VERSIONS)
        async with anyio.create_task_group() as group:

            async def delete() -> None:
                await live.engine.held.wait()
                assert (await live.client.delete("/characters/lyra-2")).status_code == 204
                live.engine.go.set()

            group.start_soon(delete)
            made = (await synthesize(live, text=TEXT, name="Lyra")).json()
        assert (profile(made), made["version"]) == (("40", "to leave"), 1)
        assert made["reading"]["error"]["code"] == "character_not_found"


async def test_streamed_failure_in_the_middle_is_told_before_the_character(live: Live) -> None:
    say(live, VERSIONS[0], "{}")
    *_, error, made = await stream(live, text=TEXT, name="Lyra")
    assert error["error"]["code"] == "synthesis_failed"
    assert profile(made) == ("40", "to leave")
    assert made["reading"]["error"] == error["error"]


@pytest.mark.parametrize("streamed", [False, True])
async def test_failure_at_the_first_piece_is_an_error(live: Live, streamed: bool) -> None:
    live.engine.script.fail_after, live.engine.script.failure = 0, EngineError("scripted")
    before = await count(live)
    assert_error(await synthesize(live, text=TEXT, name="Lyra", stream=streamed), 503, code="engine_error")
    assert await count(live) == before


async def test_disconnect_stops_the_reading_and_keeps_what_is_stored(
    renderer: Renderer, redis: Redis, redis_url: str
) -> None:
    async with serve_live(Pausing(renderer, max_model_len=CONTEXT), redis_url) as live:
        say(live, *VERSIONS)
        body = {"text": TEXT, "name": "Lyra", "stream": True}
        with anyio.fail_after(PATIENCE_S):
            async with live.client.stream("POST", SYNTHESIZE, json=body):
                await live.engine.held.wait()
            while not live.engine.aborted:
                await anyio.sleep(0.005)
        [stored] = (await live.client.get("/characters", params={"q": "Lyra", "cursor": "lyra-"})).json()["characters"]
        assert (profile(stored), stored["version"]) == (("40", "to leave"), 1)
        assert len(live.engine.prompts) == 2


async def test_text_in_another_script_is_read_in_it(live: Live) -> None:
    text = "林黛玉走进花园，看见落花。" * 20
    say(live, write(name="林黛玉", goal="葬花"))
    made = (await synthesize(live, text=text, name="林黛玉")).json()
    assert made["profile"]["goal"] == "葬花"
    assert "\u0800" in schema(live)["goal"]["pattern"]
