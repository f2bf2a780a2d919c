"""Characters that speak with an adapter of their own: never in another's voice, nor in the model's in its absence."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from models.adapters import WEIGHTS
from models.renderer import Renderer
from tests.adapters import write_adapter
from tests.fake_engine import FakeEngine, Script
from tests.live import Live, serve_live
from tests.memories import rest
from tests.refusals import assert_error

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two adapters that fit, and one that doesn't."""
    for seed, name in enumerate(("north", "south")):
        write_adapter(tmp_path / "adapters" / name, seed=seed)
    write_adapter(tmp_path / "adapters" / "wide", rank=32)
    return tmp_path / "adapters"


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str, folder: Path, tmp_path: Path) -> AsyncIterator[Live]:
    options = {"adapters_dir": folder, "data_dir": tmp_path / "data"}
    async with serve_live(FakeEngine(renderer), redis_url, **options) as running:
        yield running


async def give(live: Live, character_id: str, adapter: object) -> None:
    """Write an adapter into the card, as one that comes from elsewhere has it."""
    body = {"extensions": {"opencharacter": {"adapter": adapter}}}
    (await live.client.patch(f"/characters/{character_id}", json=body)).raise_for_status()


async def put(live: Live, character_id: str, adapter: str) -> dict[str, Any]:
    answer = await live.client.put(f"/characters/{character_id}/adapter", json={"adapter": adapter})
    told: dict[str, Any] = answer.raise_for_status().json()
    return told


async def open_chat(live: Live, character_id: str = "lyra", **fields: Any) -> str:
    answer = await live.client.post("/sessions", json={"character_id": character_id, **fields})
    return f"/sessions/{answer.raise_for_status().json()['id']}"


async def voice(live: Live, path: str, **body: Any) -> str | None:
    """The adapter that answers in a session, without its digest."""
    if path.endswith("/messages"):
        body = {"content": "Hello.", **body}
    (await live.client.post(path, json=body)).raise_for_status()
    return last_voice(live)


def last_voice(live: Live) -> str | None:
    adapter = live.engine.voices[-1]
    return adapter.name.rpartition("-")[0] if adapter else None


async def test_candidates_are_judged_in_the_voice_that_they_were_said_in(live: Live) -> None:
    await put(live, "lyra", "north")
    session = await open_chat(live)
    body: dict[str, Any] = {"fidelity": {"n": 2}}
    await voice(live, f"{session}/messages", **body)
    asked = {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}], **body}
    (await live.client.post("/v1/chat/completions", json=asked)).raise_for_status()
    assert live.engine.scored_by == [live.engine.voices[-1]] * 4
    assert last_voice(live) == "north"


# What is there


async def test_adapters_are_listed_with_what_is_wrong_with_them(live: Live, folder: Path) -> None:
    listed = (await live.client.get("/adapters")).json()
    assert listed["enabled"] is True
    north, _, wide = listed["adapters"]
    assert north == {
        "name": "north",
        "base": "models/tiny",
        "rank": 4,
        "modules": ["down_proj", "q_proj"],
        "size_bytes": (folder / "north" / WEIGHTS).stat().st_size,
        "usable": True,
        "problems": [],
    }
    assert (wide["name"], wide["usable"], wide["problems"]) == (
        "wide",
        False,
        ["its rank is 32, and at most 16 is taken"],
    )
    assert (await live.client.get("/adapters/wide")).json() == wide


async def test_adapters_come_in_pages(live: Live) -> None:
    page = (await live.client.get("/adapters", params={"limit": 2})).json()
    assert page["next_cursor"] == "south"
    rest_of_them = (await live.client.get("/adapters", params={"cursor": "south"})).json()
    assert [one["name"] for one in rest_of_them["adapters"]] == ["wide"]
    assert rest_of_them["next_cursor"] is None


async def test_adapter_that_is_put_there_is_seen_at_once(live: Live, folder: Path) -> None:
    assert_error(await live.client.get("/adapters/east"), 404, code="adapter_not_found")
    write_adapter(folder / "east")
    assert (await live.client.get("/adapters/east")).json()["usable"]
    assert (await put(live, "lyra", "east"))["usable"]


async def test_path_is_no_name(live: Live) -> None:
    for name in ("..", "..%2Fadapters", "%2Fetc", "north%00", "a%0Ab"):
        assert (await live.client.get(f"/adapters/{name}")).status_code == 404


async def test_server_without_adapters_says_so(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with serve_live(FakeEngine(renderer), redis_url) as live:
        assert (await live.client.get("/adapters")).json() == {"enabled": False, "adapters": [], "next_cursor": None}
        refused = await live.client.put("/characters/lyra/adapter", json={"adapter": "north"})
        assert_error(refused, 409, code="adapters_off")
        await give(live, "lyra", "north")
        assert_error(await live.client.post("/sessions", json={"character_id": "lyra"}), 409, code="adapters_off")


# Registering


async def test_registered_adapter_is_a_version_of_the_character(live: Live) -> None:
    before = (await live.client.get("/characters/lyra")).json()
    assert await put(live, "lyra", "north") == {
        "adapter": "north",
        "version": before["version"] + 1,
        "usable": True,
        "problem": None,
    }
    after = await live.client.get("/characters/lyra")
    assert after.json()["data"]["extensions"]["opencharacter"]["adapter"] == "north"
    assert after.json()["profile"] == before["profile"]
    shown = await live.client.get("/characters/lyra/adapter")
    assert (shown.json()["adapter"], shown.headers["etag"]) == ("north", after.headers["etag"])
    restored = await live.client.post(f"/characters/lyra/versions/{before['version']}/restore")
    assert restored.status_code == 200
    assert (await live.client.get("/characters/lyra/adapter")).json()["adapter"] is None


async def test_adapter_is_loaded_when_it_is_registered(live: Live) -> None:
    await put(live, "lyra", "north")
    assert [adapter.name.rpartition("-")[0] for adapter in live.engine.loaded] == ["north"]


async def test_adapter_can_be_taken_away(live: Live) -> None:
    await put(live, "lyra", "north")
    assert (await live.client.delete("/characters/lyra/adapter")).status_code == 204
    assert await voice(live, f"{await open_chat(live)}/messages") is None


async def test_condition_that_is_not_met_changes_nothing(live: Live) -> None:
    stale = {"if-match": '"stale"'}
    refused = await live.client.put("/characters/lyra/adapter", json={"adapter": "north"}, headers=stale)
    assert_error(refused, 412, code="etag_mismatch")
    assert_error(await live.client.delete("/characters/lyra/adapter", headers=stale), 412, code="etag_mismatch")
    assert live.engine.loaded == []


async def test_adapter_that_cannot_be_used_is_not_registered(live: Live) -> None:
    before = (await live.client.get("/characters/lyra")).headers["etag"]
    for adapter, status, code in (
        ("east", 404, "adapter_not_found"),
        ("wide", 409, "adapter_broken"),
        ("../adapters/north", 400, "invalid_adapter_name"),
        ("/etc", 400, "invalid_adapter_name"),
        ("north\n", 400, "invalid_adapter_name"),
        ("north\0", 400, None),
        ("", 400, None),
        (7, 400, None),
        (None, 400, None),
    ):
        refused = await live.client.put("/characters/lyra/adapter", json={"adapter": adapter})
        assert_error(refused, status, code=code)
    assert (await live.client.get("/characters/lyra")).headers["etag"] == before


async def test_unknown_character_has_no_adapter(live: Live) -> None:
    assert_error(await live.client.get("/characters/nobody/adapter"), 404, code="character_not_found")
    body = {"adapter": "north"}
    assert_error(await live.client.put("/characters/nobody/adapter", json=body), 404, code="character_not_found")


async def test_adapter_goes_along_when_a_card_is_exported(live: Live) -> None:
    await put(live, "lyra", "north")
    card = (await live.client.get("/characters/lyra/export", params={"format": "png"})).content
    result = (await live.client.post("/characters/import", content=card)).json()["results"][0]
    assert (await live.client.get(f"/characters/{result['id']}/adapter")).json()["adapter"] == "north"


# Speaking


async def test_each_character_speaks_in_its_own_voice(live: Live) -> None:
    await put(live, "lyra", "north")
    await put(live, "hasan", "south")
    for character_id, expected in (("lyra", "north"), ("hasan", "south"), ("birta", None)):
        session = await open_chat(live, character_id)
        assert await voice(live, f"{session}/messages") == expected
        assert await voice(live, f"{session}/regenerate") == expected
        assert await voice(live, f"{session}/continue") == expected
        # The user's own line is nobody's.
        assert await voice(live, f"{session}/impersonate") is None


async def test_transcripts_are_answered_in_the_characters_voice(live: Live) -> None:
    await put(live, "lyra", "north")
    body = {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}]}
    for headers in ({}, {"X-Session-Id": "sam"}):
        (await live.client.post("/v1/chat/completions", json=body, headers=headers)).raise_for_status()
        assert last_voice(live) == "north"
    (await live.client.post("/v1/chat/completions", json=body | {"model": "fake"})).raise_for_status()
    assert last_voice(live) is None


async def test_each_of_a_cast_speaks_in_its_own_voice(live: Live) -> None:
    await put(live, "lyra", "north")
    await put(live, "hasan", "south")
    body = {"character_ids": ["lyra", "hasan", "birta"], "greeting": None}
    session = (await live.client.post("/sessions", json=body)).raise_for_status().json()["id"]
    said = [await voice(live, f"/sessions/{session}/messages") for _ in range(3)]
    assert said == ["north", "south", None]


@pytest.mark.parametrize(
    ("adapter", "code"),
    [("east", "adapter_not_found"), ("wide", "adapter_broken"), ("../north", "adapter_not_found"), (7, None)],
    ids=repr,
)
async def test_character_whose_adapter_cannot_be_used_does_not_speak(
    live: Live, adapter: object, code: str | None
) -> None:
    session = await open_chat(live, follow=True)
    await rest(live)
    await give(live, "lyra", adapter)
    chat = {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}]}
    cast = {"character_ids": ["birta", "lyra"]}
    for path, body in (
        (f"{session}/messages", {"content": "Hello."}),
        (f"{session}/messages", {"content": "Hello.", "stream": True}),
        ("/sessions", {"character_id": "lyra"}),
        ("/sessions", cast),
        ("/v1/chat/completions", chat),
    ):
        assert_error(await live.client.post(path, json=body), 409, code=code)
    named = await live.client.post("/v1/chat/completions", json=chat, headers={"X-Session-Id": "sam"})
    assert_error(named, 409, code=code)
    assert_error(await live.client.get("/sessions/sam"), 404)
    assert live.engine.prompts == []
    shown = (await live.client.get("/characters/lyra/adapter")).json()
    assert not shown["usable"]
    inspected = (await live.client.get("/characters/lyra/prompt")).json()
    assert shown["problem"] in inspected["warnings"]


async def test_session_goes_on_once_its_adapter_is_back(live: Live, folder: Path) -> None:
    await put(live, "lyra", "north")
    session = await open_chat(live)
    shutil.move(folder / "north", folder / ".away")
    refused = await live.client.post(f"{session}/messages", json={"content": "Hello."})
    assert "there is no adapter 'north'" in assert_error(refused, 409, code="adapter_not_found")
    shutil.move(folder / ".away", folder / "north")
    assert await voice(live, f"{session}/messages") == "north"
    assert (await live.client.get(session)).json()["version"] == 2


async def test_adapter_that_the_engine_refuses_is_a_conflict(live: Live) -> None:
    live.engine.refuses = "north"
    refused = await live.client.put("/characters/lyra/adapter", json={"adapter": "north"})
    assert "the engine couldn't load it" in assert_error(refused, 409, code="adapter_broken")
    live.engine.refuses = ""
    assert (await put(live, "lyra", "north"))["usable"]


async def test_session_keeps_its_adapter_and_one_that_follows_changes_it(live: Live) -> None:
    await put(live, "lyra", "north")
    kept, follows = await open_chat(live), await open_chat(live, follow=True)
    await put(live, "lyra", "south")
    assert await voice(live, f"{kept}/messages") == "north"
    assert await voice(live, f"{follows}/messages") == "south"
    (await live.client.patch(kept, json={"follow": True})).raise_for_status()
    assert await voice(live, f"{kept}/messages") == "south"


async def test_weights_that_are_replaced_are_heard_at_once_and_under_another_name(live: Live, folder: Path) -> None:
    await put(live, "lyra", "north")
    session = await open_chat(live)
    await voice(live, f"{session}/messages")
    write_adapter(folder / "north", seed=9)
    await voice(live, f"{session}/messages")
    before, after = [adapter for adapter in live.engine.voices if adapter]
    assert before.name != after.name
    assert before.path != after.path


async def test_forty_turns_at_once_copy_an_adapter_once(live: Live, tmp_path: Path) -> None:
    sessions = [await open_chat(live, follow=True) for _ in range(40)]
    await give(live, "lyra", "north")
    bodies = [live.client.post(f"{session}/messages", json={"content": "Hello."}) for session in sessions]
    for answer in await asyncio.gather(*bodies):
        answer.raise_for_status()
    assert len({adapter.path for adapter in live.engine.voices if adapter}) == 1
    (server,) = (path for path in (tmp_path / "data" / "adapters").iterdir() if path.is_dir())
    assert len(list(server.iterdir())) == 1


# Reading ahead


async def test_prompts_are_read_ahead_with_the_characters_adapter(live: Live) -> None:
    live.app.state.turns.afterwards.pause_s = 0.0
    await put(live, "lyra", "north")
    session = await open_chat(live)
    await rest(live)
    await voice(live, f"{session}/messages")
    await rest(live)
    assert len(live.engine.prefilled_by) == 2
    assert set(live.engine.prefilled_by) == {live.engine.voices[-1]}


async def test_head_that_another_voice_has_read_is_read_again(live: Live) -> None:
    for adapter in ("north", "south"):
        await put(live, "lyra", adapter)
        await open_chat(live)
        await rest(live)
    assert len({adapter.name for adapter in live.engine.prefilled_by if adapter}) == 2


async def test_scene_is_read_ahead_by_who_is_to_speak(live: Live) -> None:
    live.app.state.turns.afterwards.pause_s = 0.0
    await put(live, "hasan", "south")
    body = {"character_ids": ["lyra", "hasan"], "greeting": None, "turn_order": "list"}
    session = (await live.client.post("/sessions", json=body)).raise_for_status().json()["id"]
    await rest(live)
    assert await voice(live, f"/sessions/{session}/messages") is None
    await rest(live)
    assert await voice(live, f"/sessions/{session}/messages") == "south"
    assert live.engine.prefilled_by[:2] == [None, live.engine.voices[-1]]


async def test_scene_whose_speaker_nobody_knows_is_not_read_ahead_by_anybody(live: Live) -> None:
    await put(live, "hasan", "south")
    body = {"character_ids": ["lyra", "hasan"], "greeting": None, "turn_order": "natural"}
    (await live.client.post("/sessions", json=body)).raise_for_status()
    await rest(live)
    assert live.engine.prefilled == []


async def test_missing_adapter_stops_no_work_between_turns(live: Live, folder: Path) -> None:
    live.app.state.turns.afterwards.pause_s = 0.0
    await put(live, "lyra", "north")
    session = await open_chat(live)
    await rest(live)
    live.engine.script = Script(hold_after=1)
    turn = asyncio.create_task(live.client.post(f"{session}/messages", json={"content": "Hello."}))
    await live.engine.held.wait()
    shutil.rmtree(folder / "north")
    live.engine.go.set()
    assert (await turn).status_code == 200
    await rest(live)
    assert 'prewarms_total{outcome="failed"} 1.0' in (await live.client.get("/metrics")).text
