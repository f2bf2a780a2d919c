"""A text read for a character that is there: what its user wrote stays, and reading goes on where it stopped."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
from redis.asyncio import Redis

from models.renderer import Renderer
from tests.live import PATIENCE_S, Live, serve_live
from tests.refusals import assert_error
from tests.synthesis import CONTEXT, SYNTHESIZE, say, schema, stream, synthesize, told, write
from tests.test_reading_api import TEXT, VERSIONS, Pausing, profile

pytestmark = pytest.mark.anyio

ODO = "/characters/odo"
LYRA = "/characters/lyra"
CARD = {"id": "odo", "name": "Lyra", "first_mes": "Hm.", "profile": {"name": "Lyra", "age": "93", "habits": ["hums"]}}


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    """An engine that reads the text in three pieces, and a character whose user has told an age."""
    async with serve_live(Pausing(renderer, max_model_len=CONTEXT), redis_url) as running:
        await running.client.delete(LYRA)
        running.engine.go.set()
        await running.client.post("/characters", json=CARD)
        say(running, *VERSIONS)
        yield running


async def stored(live: Live, path: str = ODO) -> dict[str, Any]:
    made: dict[str, Any] = (await live.client.get(path)).json()
    return made


async def send_text(live: Live, body: str | bytes, **query: Any) -> httpx.Response:
    """As the body itself."""
    return await live.client.post(SYNTHESIZE, content=body, params=query, headers={"content-type": "text/plain"})


async def break_off(live: Live, read: int = 1, **fields: Any) -> None:
    """Begin to read, and leave when so many pieces are stored."""
    live.engine.go.clear()
    live.engine.held.clear()
    aborted = len(live.engine.aborted)
    with anyio.fail_after(PATIENCE_S):
        body = {"text": TEXT, "stream": True, **fields}
        async with live.client.stream("POST", SYNTHESIZE, json=body):
            await live.engine.held.wait()
        while len(live.engine.aborted) == aborted:
            await anyio.sleep(0.005)
    live.engine.go.set()
    live.engine.prompts.clear()


async def test_text_fills_what_a_character_lacks(live: Live) -> None:
    answer = await synthesize(live, text=TEXT, character_id="odo")
    made = answer.json()
    assert (answer.status_code, made["id"], made["version"]) == (200, "odo", 3)
    assert profile(made) == ("93", "to stay")
    assert made["data"]["first_mes"] == "Hm."
    assert made["profile"]["habits"] == ["hums"]
    assert made["reading"] == {"read": 3, "pieces": 3, "error": None}
    assert schema(live)["age"] == {"const": "93"}
    assert "Age: 93;" in told(live)
    kept = await stored(live)
    assert kept["profile"] == made["profile"]
    assert kept["reading"] == {"text": kept["reading"]["text"], "read": 3, "done": True}


async def test_text_may_change_what_the_user_wrote_when_asked(live: Live) -> None:
    made = (await synthesize(live, text=TEXT, character_id="odo", revise=True)).json()
    assert profile(made) == ("41", "to stay")
    assert "Age: 93" in told(live, 0)


async def test_next_text_may_change_what_the_one_before_told(live: Live) -> None:
    await synthesize(live, text=TEXT, character_id="odo")
    say(live, write(name="Lyra", goal="to fly"))
    made = (await synthesize(live, text="Lyra went away.", character_id="odo")).json()
    assert profile(made) == ("93", "to fly")
    assert made["reading"]["read"] == 1
    await live.client.patch(ODO, json={"profile": {"fears": "cats"}})
    say(live, write(name="Lyra", goal="to swim", fears="mice"))
    made = (await synthesize(live, text="Lyra came back.", character_id="odo")).json()
    assert (profile(made), made["profile"]["fears"]) == (("93", "to swim"), "cats")


async def test_same_text_is_not_read_twice(live: Live) -> None:
    first = (await synthesize(live, text=TEXT, character_id="odo")).json()
    asked = len(live.engine.prompts)
    again = await synthesize(live, text=TEXT.replace(". ", ".\n\n"), character_id="odo")
    assert (again.status_code, again.json()) == (200, first)
    assert await stream(live, text=TEXT, character_id="odo") == [first]
    assert len(live.engine.prompts) == asked


async def test_reading_that_broke_off_goes_on_where_it_stopped(live: Live) -> None:
    await break_off(live, character_id="odo")
    assert (await stored(live))["reading"]["read"] == 1
    say(live, *VERSIONS[1:])
    frames = await stream(live, text=TEXT, character_id="odo")
    assert frames[0] == {"piece": 1, "pieces": 3}
    assert frames[-1]["reading"] == {"read": 3, "pieces": 3, "error": None}
    assert (profile(frames[-1]), frames[-1]["version"]) == (("93", "to stay"), 3)
    assert len(live.engine.prompts) == 2
    assert "day 0 " not in told(live, 0)


async def test_new_character_is_found_again_by_its_text_and_name(live: Live) -> None:
    await break_off(live, name="Lyra")
    say(live, *VERSIONS[1:])
    answer = await synthesize(live, text=TEXT, name="Lyra")
    assert (answer.status_code, answer.json()["id"], profile(answer.json())) == (200, "lyra", ("41", "to stay"))
    assert len(live.engine.prompts) == 2
    say(live, *VERSIONS)
    # One that is read to its end is whole: another is asked for.
    assert (await synthesize(live, text=TEXT, name="Lyra")).json()["id"] == "lyra-2"


async def test_piece_that_tells_nothing_new_is_not_read_again(live: Live) -> None:
    say(live, VERSIONS[0], VERSIONS[0], "{}")
    made = (await synthesize(live, text=TEXT, name="Lyra")).json()
    assert (made["version"], made["reading"]["read"]) == (1, 2)
    live.engine.prompts.clear()
    say(live, VERSIONS[2])
    assert (await synthesize(live, text=TEXT, name="Lyra")).json()["version"] == 2
    assert len(live.engine.prompts) == 1


@pytest.mark.parametrize("body", ["raw", "form"])
async def test_text_is_sent_as_it_is(live: Live, body: str) -> None:
    if body == "raw":
        answer = await send_text(live, TEXT, character_id="odo", seed=7, temperature=0.5)
    else:
        answer = await live.client.post(SYNTHESIZE, files={"file": TEXT.encode()}, params={"character_id": "odo"})
    assert (answer.status_code, profile(answer.json())) == (200, ("93", "to stay"))
    if body == "raw":
        assert (live.engine.params[-1].seed, live.engine.params[-1].temperature) == (7, 0.5)
    # As JSON it is the same text.
    assert (await synthesize(live, text=TEXT, character_id="odo")).json() == answer.json()


async def test_text_may_be_longer_than_json(live: Live) -> None:
    long = TEXT + "\n" * live.app.state.settings.max_body_bytes
    assert (await send_text(live, long, name="Lyra")).json()["reading"]["read"] == 3
    limit = live.app.state.settings.max_import_bytes
    assert_error(await send_text(live, b" " * (limit + 1), name="Lyra"), 413, code="body_too_large")


@pytest.mark.parametrize(
    ("text", "query", "param"),
    [
        (b"Zo\xeb came home.", {"name": "Zo"}, "text"),
        (b"Lyra\0came home.", {"name": "Lyra"}, "text"),
        (b" \n ", {"name": "Lyra"}, "text"),
        (b"", {"name": "Lyra"}, "text"),
        (b"Lyra came home.", {"name": "Odo"}, "name"),
        (b"Lyra came home.", {"name": "Lyra", "text": "Lyra"}, "text"),
        (b"Lyra came home.", {"name": "Lyra", "persona": "A baker"}, "text"),
        (b"Lyra came home.", {"name": "Lyra", "complete": "true"}, "complete"),
        (b"Lyra came home.", {"name": "Lyra", "seed": "-1"}, "seed"),
        (b"Lyra came home.", {"character_id": "odo", "n": "2"}, "n"),
        (b"Lyra came home.", {"name": " "}, "name"),
    ],
)
async def test_bad_text_is_refused(live: Live, text: bytes, query: dict[str, str], param: str) -> None:
    assert_error(await send_text(live, text, **query), 400, param=param)
    assert not live.engine.prompts


async def test_text_for_nobody_is_not_found(live: Live) -> None:
    assert_error(await send_text(live, "Odo came home.", character_id="nobody"), 404, code="character_not_found")


async def test_text_that_may_change_nothing_is_refused(live: Live) -> None:
    await synthesize(live, character_id="odo", complete=True)
    say(live, write(name="Lyra", age="3"))
    refused = await synthesize(live, text=TEXT, character_id="odo")
    assert "revise" in assert_error(refused, 400, code="nothing_missing", param="character_id")
    assert (await synthesize(live, text=TEXT, character_id="odo", revise=True)).json()["profile"]["age"] == "3"


async def test_what_the_user_changes_meanwhile_stays(live: Live) -> None:
    live.engine.go.clear()
    async with anyio.create_task_group() as group:

        async def change() -> None:
            await live.engine.held.wait()
            patch = {"first_mes": "Hello!", "profile": {"goal": "to rest"}}
            assert (await live.client.patch(ODO, json=patch)).status_code == 200
            live.engine.go.set()

        group.start_soon(change)
        made = (await synthesize(live, text=TEXT, character_id="odo")).json()
    assert made["reading"]["error"] is None
    assert (made["data"]["first_mes"], profile(made)) == ("Hello!", ("93", "to rest"))


async def test_change_meanwhile_ends_a_reading_under_an_etag(live: Live) -> None:
    live.engine.go.clear()
    tag = (await live.client.get(ODO)).headers["etag"]
    async with anyio.create_task_group() as group:

        async def change() -> None:
            await live.engine.held.wait()
            await live.client.patch(ODO, json={"first_mes": "Hello!"})
            live.engine.go.set()

        group.start_soon(change)
        body = {"text": TEXT, "character_id": "odo"}
        made = (await live.client.post(SYNTHESIZE, json=body, headers={"if-match": tag})).json()
    assert (made["reading"]["read"], made["reading"]["error"]["code"]) == (1, "etag_mismatch")
    assert_error(await live.client.post(SYNTHESIZE, json=body, headers={"if-match": tag}), 412)


async def test_two_readers_at_once_have_one_winner(live: Live) -> None:
    live.engine.go.clear()
    ends: list[dict[str, Any]] = []
    async with anyio.create_task_group() as group:

        async def read() -> None:
            ends.append((await synthesize(live, text=TEXT, character_id="odo")).json())

        group.start_soon(read)
        await live.engine.held.wait()
        live.engine.held.clear()
        group.start_soon(read)
        await live.engine.held.wait()
        live.engine.go.set()
    codes = [(end["reading"]["error"] or {}).get("code") if "reading" in end else end["error"]["code"] for end in ends]
    assert sorted(map(str, codes)) == ["None", "reading_moved"]
    assert (await stored(live))["reading"]["done"] is True


async def test_another_card_in_its_place_is_read_for_anew(live: Live) -> None:
    await synthesize(live, text=TEXT, character_id="odo")
    await live.client.put(ODO, json={"name": "Lyra", "first_mes": "Who?"})
    assert "reading" not in await stored(live)
    say(live, *VERSIONS)
    made = (await synthesize(live, text=TEXT, character_id="odo")).json()
    assert (profile(made), made["reading"]["read"]) == (("41", "to stay"), 3)


async def test_restored_version_has_the_place_that_it_had(live: Live) -> None:
    await synthesize(live, text=TEXT, character_id="odo")
    await live.client.post(f"{ODO}/versions/2/restore")
    live.engine.prompts.clear()
    say(live, VERSIONS[2])
    made = (await synthesize(live, text=TEXT, character_id="odo")).json()
    assert len(live.engine.prompts) == 1
    assert profile(made) == ("93", "to stay")


async def test_text_may_call_the_character_something_else(live: Live) -> None:
    text = TEXT.replace("Lyra", "Miss Tamm")
    assert_error(await synthesize(live, text=text, character_id="odo"), 400, param="name")
    made = (await synthesize(live, text=text, character_id="odo", name="Miss Tamm")).json()
    assert made["profile"]["name"] == "Lyra"
    assert told(live, 0).startswith("Miss Tamm. Known so far: Age: 93. A text goes on about Miss Tamm:")


async def test_dry_run_for_a_character_changes_nothing(live: Live) -> None:
    before = await stored(live)
    made = (await synthesize(live, text=TEXT, character_id="odo", dry_run=True)).json()
    assert (made["id"], profile(made)) == (None, ("93", "to stay"))
    assert await stored(live) == before


async def test_rich_profile_is_no_obstacle(live: Live) -> None:
    rich = {"relationships": {"Bo": "brother"}, "quotes": ["Hm!"], "big_five": {"openness": 9}, "expressiveness": 0.2}
    await live.client.patch(ODO, json={"profile": rich | {"likes": "x" * 2000}})
    made = (await synthesize(live, text=TEXT, character_id="odo")).json()
    assert made["profile"]["relationships"] == {"Bo": "brother"}
    assert made["profile"]["likes"] == "x" * 2000
