"""Characters written from a persona, quotes or half a card, one or several at once, by an engine that does as told."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from characters.profile import LABELS
from models.engine import EngineError
from models.renderer import Renderer
from tests.fake_engine import FakeEngine
from tests.live import Live, serve_live
from tests.refusals import assert_error
from tests.synthesis import CONTEXT, SYNTHESIZE, count, say, schema, stream, synthesize, told, write

pytestmark = pytest.mark.anyio

HALF: dict[str, Any] = {
    "data": {"name": "Brann", "description": "{{char}} keeps bees.", "extensions": {"fav": True}},
    "profile": {"age": "70", "goal": 'to say "no"', "habits": ["hums"]},
    "persona": "A beekeeper",
}


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    """Room for a profile, and an engine that writes one."""
    async with serve_live(FakeEngine(renderer, max_model_len=CONTEXT), redis_url) as running:
        say(running, write(name="Odo"))
        yield running


def half(**changed: str) -> str:
    """What the engine writes for HALF, up to the last missing field."""
    fields = dict(json.loads(write(name="Brann", age="70", **changed)))
    del fields["goal"]
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


async def test_persona_is_answered_as_ever(live: Live) -> None:
    answer = await synthesize(live, persona="A  baker")
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == "/characters/odo"
    assert list(made) == ["id", "spec", "spec_version", "data", "profile", "persona", "version", "warnings"]
    assert (made["persona"], made["version"]) == ("A baker", 1)
    assert (await live.client.get("/characters/odo")).json() == made


async def test_name_is_what_was_asked_for(live: Live) -> None:
    say(live, write(name="Mira"))
    made = (await synthesize(live, persona="A thief", name=" Mira ")).json()
    assert made["data"]["name"] == made["profile"]["name"] == "Mira"
    assert schema(live)["name"] == {"const": "Mira"}


async def test_quotes_are_kept_as_examples_of_the_voice(live: Live) -> None:
    quotes = ["Mind the hive.", "“Hm,” I said.\nAnd left."]
    made = (await synthesize(live, quotes=quotes)).json()
    assert made["profile"]["quotes"] == ["Mind the hive.", "“Hm,” I said. And left."]
    assert told(live) == "Somebody, who says: “Mind the hive.” ““Hm,” I said. And left.”"


async def test_half_a_card_is_filled_and_nothing_else_changes(live: Live) -> None:
    say(live, half(gender="man"))
    before = await count(live)
    answer = await synthesize(live, card=HALF, complete=True)
    made = answer.json()
    assert answer.status_code == 201
    assert made["filled"] == [*(field for field in LABELS if field not in ("name", "age", "goal")), "first_mes"]
    assert made["profile"]["gender"] == "man"
    assert {field: made["profile"][field] for field in HALF["profile"]} == HALF["profile"]
    assert made["data"]["description"] == HALF["data"]["description"]
    assert made["data"]["extensions"]["fav"] is True
    assert made["persona"] == HALF["persona"]
    assert schema(live)["age"] == {"const": "70"}
    assert await count(live) == before + 1


async def test_stream_of_a_completion_tells_the_new_fields_alone(live: Live) -> None:
    say(live, half())
    *fields, made = await stream(live, card=HALF, complete=True)
    assert [frame["field"] for frame in fields] == [name for name in made["filled"] if name != "first_mes"]


async def test_stored_card_is_completed_as_its_next_version(live: Live) -> None:
    created = (await live.client.post("/characters", json={**HALF, "id": "brann"})).json()
    say(live, half())
    answer = await synthesize(live, character_id="brann", complete=True)
    made = answer.json()
    assert (answer.status_code, made["id"], made["version"]) == (200, "brann", created["version"] + 1)
    filled = made.pop("filled")
    assert (await live.client.get("/characters/brann")).json() == made
    assert filled[-1] == "first_mes"
    again = await synthesize(live, character_id="brann", complete=True)
    assert made["profile"]["goal"]
    assert_error(again, 400, code="nothing_missing", param="character_id")


async def test_dry_run_of_a_completion_changes_nothing(live: Live) -> None:
    await live.client.post("/characters", json={**HALF, "id": "brann"})
    before = (await live.client.get("/characters/brann")).json()
    say(live, half())
    made = (await synthesize(live, character_id="brann", complete=True, dry_run=True, n=2)).json()
    assert [one["id"] for one in made["characters"]] == [None, None]
    assert (await live.client.get("/characters/brann")).json() == before


@pytest.mark.parametrize("name", [None, "", "  "])
async def test_card_without_a_name_gets_one(live: Live, name: str | None) -> None:
    made = (await synthesize(live, card={"name": name, "description": "A knight."}, complete=True)).json()
    assert made["data"]["name"] == made["profile"]["name"] == "Odo"
    assert made["filled"][0] == "name"
    assert "Odo" in made["data"]["first_mes"]


async def test_variations_are_characters_of_their_own(live: Live) -> None:
    say(live, *(write(name=name) for name in ("Odo", "Odo", "Mira")))
    answer = await synthesize(live, persona="A baker", n=3, seed=7)
    made = answer.json()
    assert (answer.status_code, list(made)) == (201, ["characters"])
    assert [one["id"] for one in made["characters"]] == ["odo", "odo-2", "mira"]
    assert [one["data"]["name"] for one in made["characters"]] == ["Odo", "Odo", "Mira"]
    assert (live.engine.params[-1].n, live.engine.params[-1].seed) == (3, 7)
    assert len(live.engine.prompts) == 1


async def test_streamed_variations_carry_their_index(live: Live) -> None:
    say(live, write(name="Odo"), write(name="Mira"))
    *fields, odo, mira = await stream(live, persona="A baker", n=2, dry_run=True)
    for index, made in enumerate((odo, mira)):
        own = [(frame["field"], frame["value"]) for frame in fields if frame["index"] == index]
        assert own == list(made["profile"].items())


@pytest.mark.parametrize("streamed", [False, True])
async def test_variation_that_is_no_profile_fails_all_of_them(live: Live, streamed: bool) -> None:
    say(live, write(), "{}")
    before = await count(live)
    answer = await synthesize(live, persona="A baker", n=2, stream=streamed)
    assert answer.status_code == (200 if streamed else 500)
    assert "synthesis_failed" in answer.text
    assert await count(live) == before


async def test_variations_before_a_failure_are_answered_with_it(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.records.MOST_OF_ONE_NAME", 3)
    before = await count(live)
    answer = await synthesize(live, persona="A baker", n=3)
    made = answer.json()
    assert (answer.status_code, [one["id"] for one in made["characters"]]) == (201, ["odo", "odo-2"])
    assert made["error"]["code"] == "id_taken"
    assert await count(live) == before + 2
    say(live, write(name="Mira"), write(name="Odo"), write(name="Mira"))
    *_, error, kept = await stream(live, persona="A baker", n=3)
    assert (error["error"]["code"], kept["id"]) == ("id_taken", "mira")


async def test_change_in_between_stays_and_the_rest_is_filled(live: Live) -> None:
    await live.client.post("/characters", json={**HALF, "id": "brann"})
    say(live, half(gender="man", race="dwarf"))
    live.engine.script.hold_after = 1
    asked = asyncio.create_task(synthesize(live, character_id="brann", complete=True))
    await live.engine.held.wait()
    changed = {"data": {"first_mes": "Hm."}, "profile": {"gender": "woman"}}
    assert (await live.client.patch("/characters/brann", json=changed)).status_code == 200
    live.engine.go.set()
    made = (await asked).raise_for_status().json()
    assert (made["version"], made["data"]["first_mes"]) == (3, "Hm.")
    assert (made["profile"]["gender"], made["profile"]["race"]) == ("woman", "dwarf")
    assert {"race"} == {"race", "gender", "first_mes"} & set(made["filled"])


@pytest.mark.parametrize("late", [False, True])
async def test_completion_of_another_state_than_if_match_says_is_refused(live: Live, late: bool) -> None:
    await live.client.post("/characters", json={**HALF, "id": "brann"})
    tag = {"if-match": (await live.client.get("/characters/brann")).headers["etag"] if late else '"other"'}
    say(live, half())
    live.engine.script.hold_after = 1
    body = {"character_id": "brann", "complete": True}
    asked = asyncio.create_task(live.client.post(SYNTHESIZE, json=body, headers=tag))
    if late:
        await live.engine.held.wait()
        await live.client.patch("/characters/brann", json={"profile": {"gender": "woman"}})
        live.engine.go.set()
    assert_error(await asked, 412, code="etag_mismatch")
    assert (await live.client.get("/characters/brann")).json()["version"] == (2 if late else 1)


async def test_greetings_before_a_failure_are_answered_with_it(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.records.MOST_OF_ONE_NAME", 3)
    card = {"data": {"name": "Brann"}, "profile": json.loads(write(name="Brann"))}
    answer = await synthesize(live, card=card, complete=True, n=3)
    made = answer.json()
    assert (answer.status_code, [one["id"] for one in made["characters"]]) == (201, ["brann", "brann-2"])
    assert made["error"]["code"] == "id_taken"
    assert_error(await synthesize(live, card=card, complete=True, n=3), 409, code="id_taken")
    await live.client.delete("/characters/brann-2")
    error, kept = await stream(live, card=card, complete=True, n=2)
    assert (error["error"]["code"], kept["id"], kept["filled"]) == ("id_taken", "brann-2", ["first_mes"])


async def test_greeting_alone_is_filled_without_the_model(live: Live) -> None:
    card = {"data": {"name": "Brann"}, "profile": json.loads(write(name="Brann"))}
    await live.client.post("/characters", json={**card, "id": "brann"})
    made = (await synthesize(live, character_id="brann", complete=True)).raise_for_status().json()
    assert (made["version"], made["filled"]) == (2, ["first_mes"])
    assert made["data"]["first_mes"] == "Hello, {{user}}. I am Brann."
    [streamed] = await stream(live, card=card, complete=True, dry_run=True)
    assert (streamed["id"], streamed["filled"]) == (None, ["first_mes"])
    assert live.engine.prompts == []


async def test_card_gets_the_id_it_asks_for(live: Live) -> None:
    card = {**HALF, "id": "the-keeper"}
    say(live, half())
    answer = await synthesize(live, card=card, complete=True)
    assert (answer.json()["id"], answer.headers["location"]) == ("the-keeper", "/characters/the-keeper")
    assert_error(await synthesize(live, card=card, complete=True), 409, code="id_taken")
    assert_error(await synthesize(live, card={**card, "id": "The Keeper"}, complete=True), 400, code="invalid_id")
    assert_error(await synthesize(live, card={**card, "id": "others"}, complete=True, n=2), 400, param="n")
    assert (await synthesize(live, card=card, complete=True, dry_run=True)).json()["id"] is None


async def test_failure_before_the_first_byte_is_a_status(live: Live) -> None:
    live.engine.script.fail_after, live.engine.script.failure = 0, EngineError("scripted")
    assert_error(await synthesize(live, persona="A baker", stream=True), 503, code="engine_error")
    live.engine.script.fail_after = 2
    *_, error = await stream(live, persona="A baker")
    assert error["error"]["code"] == "engine_error"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "persona"),
        ({"persona": None, "text": None}, "persona"),
        ({"persona": "A baker", "quotes": ["Hm."]}, "quotes"),
        ({"persona": "A baker", "card": HALF, "complete": True}, "card"),
        ({"card": HALF, "character_id": "lyra", "complete": True}, "character_id"),
        ({"persona": "A baker", "complete": True}, "complete"),
        ({"card": HALF}, "complete"),
        ({"card": HALF, "complete": False}, "complete"),
        ({"character_id": "lyra"}, "complete"),
        ({"card": HALF, "complete": True, "name": "Odo"}, "name"),
        ({"character_id": "lyra", "complete": True, "n": 2}, "n"),
        ({"persona": "A baker", "n": 0}, "n"),
        ({"persona": "A baker", "n": 9}, "n"),
        ({"persona": "A baker", "name": ""}, "name"),
        ({"persona": "A baker", "name": "  "}, "name"),
        ({"persona": "A baker", "name": "a" * 41}, "name"),
        ({"persona": "a" * 100_000}, "persona"),
        ({"quotes": []}, "quotes"),
        ({"quotes": "Hm."}, "quotes"),
        ({"quotes": ["Hm.", " "]}, "quotes.1"),
        ({"quotes": ["Hm."] * 33}, "quotes"),
        ({"quotes": ["a" * 501]}, "quotes.0"),
        ({"quotes": ["🐝" * 500] * 32}, "quotes"),
        ({"card": [], "complete": True}, "card"),
        ({"text": "Lyra came home."}, "name"),
        ({"text": " ", "name": "Lyra"}, "text"),
        ({"text": "Nobody came home.", "name": "Lyra"}, "name"),
        ({"text": "Lyra came home.", "name": "Lyra", "complete": True}, "complete"),
        ({"text": "Lyra came home.", "name": "Lyra", "revise": True}, "revise"),
        ({"text": "Lyra came home.", "character_id": "lyra", "n": 2}, "n"),
        ({"character_id": "lyra", "complete": True, "revise": True}, "revise"),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
async def test_what_does_not_go_together_is_refused_by_name(live: Live, body: dict[str, Any], param: str) -> None:
    message = assert_error(await synthesize(live, **body), 400, param=param)
    assert len(message) < 400
    assert live.engine.prompts == []


@pytest.mark.parametrize(
    ("card", "status"),
    [
        ({}, 201),
        ({"data": {}}, 201),
        ({"data": None}, 400),
        ({"data": "Brann"}, 400),
        ({"name": 5}, 400),
        ({"name": "a" * 201}, 400),
        ({"name": "Brann", "profile": {"shoe_size": "9"}}, 400),
        ({"spec": "chara_card_v9", "data": {"name": "Brann"}}, 400),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_card_is_read_as_when_it_is_registered(live: Live, card: dict[str, Any], status: int) -> None:
    answer = await synthesize(live, card=card, complete=True)
    assert answer.status_code == status, answer.text


async def test_card_that_nobody_has_is_not_found(live: Live) -> None:
    assert_error(await synthesize(live, character_id="nobody", complete=True), 404, code="character_not_found")


async def test_id_is_no_way_around_the_route(live: Live) -> None:
    answer: httpx.Response = await live.client.get("/characters/synthesize")
    assert answer.status_code in (404, 405)
