"""Several characters in one session: whom it takes, how it is told, and how it follows them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from models.renderer import Renderer
from tests.live import Live
from tests.refusals import assert_error
from tests.scenes import SCENE, open_scene, serve_cast
from tests.talks import post, prompt, say

pytestmark = pytest.mark.anyio


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    async with serve_cast(renderer, redis_url) as running:
        yield running


async def test_session_tells_its_cast(live: Live) -> None:
    session = await open_scene(live, turn_order="manual")
    shown = (await live.client.get(session)).json()
    assert shown["cast"] == [
        {"character_id": "ann", "name": "Ann Lee"},
        {"character_id": "ben", "name": "Ben"},
        {"character_id": "cleo", "name": "Cleo"},
    ]
    assert (shown["scene"], shown["turn_order"]) == (SCENE, "manual")
    listed = (await live.client.get("/sessions")).json()["sessions"]
    assert listed[0]["cast"] == shown["cast"]


async def test_first_of_the_cast_greets_with_what_it_has_for_groups(live: Live) -> None:
    session = await open_scene(live, "cleo", "ann", greeting=0)
    first = (await live.client.get(session)).json()["messages"][0]
    assert (first["content"], first["speaker"]) == ("Cleo waves at all of you.", "cleo")
    plain = await open_scene(live, "ann", "cleo", greeting=0)
    assert (await live.client.get(plain)).json()["messages"][0]["content"] == "Ann Lee nods."


async def test_greeting_of_a_scene_leaves_its_variables(live: Live) -> None:
    card = {"name": "Eve", "first_mes": "{{setvar::mood::grim}}Eve is here.", "description": "Eve is {{getvar::mood}}."}
    (await live.client.post("/characters", json={"id": "eve", "data": card})).raise_for_status()
    session = await open_scene(live, "eve", "ben", greeting=0)
    await say(live, session, "Go on.", speaker="eve")
    assert "Eve is grim." in prompt(live)


async def test_list_shows_a_scene_without_its_cards(live: Live, redis: Redis) -> None:
    session = await open_scene(live)
    # What lists don't read needn't even be there.
    await redis.hset(f"oc:{{{session.rpartition('/')[2]}}}:meta", "cast", b"no JSON")
    [shown] = (await live.client.get("/sessions")).raise_for_status().json()["sessions"]
    assert [one["name"] for one in shown["cast"]] == ["Ann Lee", "Ben", "Cleo"]
    assert (shown["scene"], shown["turn_order"]) == (SCENE, "list")


async def test_scene_that_follows_its_characters_changes_with_them(live: Live) -> None:
    session = await open_scene(live, follow=True)
    pinned = await open_scene(live)
    changed = {"data": {"name": "Ann Lee", "description": "Ann Lee wears red now."}}
    (await live.client.put("/characters/ann", json=changed)).raise_for_status()
    await say(live, session, "Go on.")
    assert "wears red" in prompt(live)
    await say(live, pinned, "Go on.")
    assert "wears red" not in prompt(live)


async def test_scene_that_follows_a_renamed_character_calls_it_by_its_name(live: Live) -> None:
    session = await open_scene(live, follow=True)
    await say(live, session, "Go on.")
    (await live.client.put("/characters/ann", json={"data": {"name": "Anna"}})).raise_for_status()
    await say(live, session, "Go on.")
    assert "a scene with User and Anna, Ben and Cleo" in prompt(live)
    assert "Anna:\nFirst reply." in prompt(live)
    assert "Ann Lee" not in prompt(live)
    assert "\nAnna:" in live.engine.params[-1].stop


async def test_scene_does_not_follow_where_two_would_be_called_alike(live: Live) -> None:
    session = await open_scene(live, follow=True)
    (await live.client.put("/characters/ann", json={"data": {"name": "ben"}})).raise_for_status()
    assert (await say(live, session, "Go on.", speaker="ann"))["message"]["speaker"] == "ann"
    assert prompt(live).endswith("Ann Lee:\n")


async def test_fork_of_a_scene_has_its_cast(live: Live) -> None:
    session = await open_scene(live)
    await say(live, session, "Go on.")
    forked = await post(live, f"{session}/fork")
    turn = await say(live, f"/sessions/{forked['id']}", "Go on.")
    assert turn["message"]["speaker"] == "ben"


async def test_cast_of_a_hundred_is_refused(live: Live) -> None:
    ids = [f"c{number}" for number in range(100)]
    assert_error(await live.client.post("/sessions", json={"character_ids": ids}), 400, code="cast_too_large")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"character_id": "ann", "character_ids": ["ann"]},
        {"character_ids": []},
        {"character_id": "ann", "scene": "A kitchen."},
        {"character_ids": ["ann", "ben"], "motives": {"cleo": "None of this."}},
        {"character_ids": ["ann", "ben"], "turn_order": "shouting"},
    ],
)
async def test_bad_cast_is_a_400(live: Live, body: dict[str, Any]) -> None:
    assert_error(await live.client.post("/sessions", json=body), 400)


async def test_unknown_member_is_a_404(live: Live) -> None:
    assert_error(await live.client.post("/sessions", json={"character_ids": ["ann", "nobody"]}), 404)


async def test_two_of_one_name_cant_play_together(live: Live) -> None:
    (await live.client.post("/characters", json={"id": "ben2", "data": {"name": "BEN"}})).raise_for_status()
    answer = await live.client.post("/sessions", json={"character_ids": ["ben", "ben2"]})
    assert_error(answer, 400, code="cast_names_alike")


@pytest.mark.parametrize("name", ["BEN", " ben", "Ｂｅｎ"])
async def test_nobody_plays_one_of_the_cast(live: Live, name: str) -> None:
    body = {"character_ids": ["ann", "ben"], "user": {"name": name}}
    answer = await live.client.post("/sessions", json=body)
    assert_error(answer, 400, code="cast_names_alike", param="user.name")
    session = await open_scene(live)
    assert_error(await live.client.patch(session, json={"user": {"name": name}}), 400, code="cast_names_alike")


async def test_session_with_one_character_has_no_other_speaker(live: Live) -> None:
    answer = await live.client.post("/sessions", json={"character_id": "ann"})
    path = f"/sessions/{answer.json()['id']}/messages"
    assert_error(await live.client.post(path, json={"content": "Hi.", "speaker": "ben"}), 400, code="no_cast")
    assert_error(await live.client.post(path, json={"content": "Hi.", "to": ["ben"]}), 400, code="unknown_speaker")
