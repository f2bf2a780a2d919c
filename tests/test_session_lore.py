"""Lore in a session: told where it costs nothing, remembered, frozen, and the same for another reply to one message."""

from typing import Any

import httpx
import pytest

from tests.live import Live
from tests.lore_sessions import BOOK, entry, open_with, say
from tests.talks import prompt


@pytest.mark.anyio
async def test_constant_lore_is_in_the_head_and_found_lore_before_the_last_message(live: Live) -> None:
    session = await open_with(live, {})
    told = await say(live, session, "Tell me of the dragon.")
    head, _, rest = told.partition("Good morning.")
    assert "# World\nThe sea is Odo's." in head
    assert "# World\nDragons bite Sam.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nTell me" in rest
    assert "Dragons" not in await say(live, session, "Good night.")


@pytest.mark.anyio
async def test_prompts_with_lore_share_all_but_their_tails(live: Live) -> None:
    session = await open_with(live, {})
    for text in ("A dragon!", "A bell!", "A dragon and a bell.", "Nothing."):
        await say(live, session, text)
    mark = live.engine.renderer.encode("Good morning.")
    for before, after in zip(live.engine.prompts, live.engine.prompts[1:], strict=False):
        common = next(n for n, (one, other) in enumerate(zip(before, after, strict=False)) if one != other)
        assert common > len(mark)
        # What differs begins with the tail, or where it stood: the last exchange.
        assert len(before) - common < 60


@pytest.mark.anyio
async def test_frozen_lore_stays_in_the_history_and_is_written_once(live: Live) -> None:
    session = await open_with(live, {})
    await say(live, session, "Swear the oath.")
    await live.client.post(f"/sessions/{session}/regenerate")
    assert prompt(live).count("An oath was sworn.") == 1
    told = await say(live, session, "The oath again, please.")
    assert told.count("An oath was sworn.") == 1
    assert told.index("An oath was sworn.") < told.index("Swear the oath.")
    told = await say(live, session, "Good night.")
    assert told.count("An oath was sworn.") == 1


@pytest.mark.anyio
async def test_sticky_lore_lasts_beyond_its_turn(live: Live) -> None:
    session = await open_with(live, {})
    assert "The bell rings on." in await say(live, session, "Ring the bell.")
    assert "The bell rings on." in await say(live, session, "What was that?")
    assert "The bell rings on." not in await say(live, session, "Silence.")


@pytest.mark.anyio
async def test_another_reply_has_the_same_prompt(live: Live) -> None:
    book = {"extensions": {}, "entries": [entry("dice", "{{roll:1000000}} and {{random:a,b,c}} at {{isotime}}")]}
    session = await open_with(live, {"character_book": book})
    await say(live, session, "Dice!")
    assert "{{" not in prompt(live)
    await live.client.post(f"/sessions/{session}/regenerate")
    one, other = live.engine.prompts
    assert one == other


@pytest.mark.anyio
async def test_note_and_lorebooks_of_a_session_can_be_changed(live: Live) -> None:
    book = {"name": "More", "entries": [entry("cat", "Cats purr."), entry("", "It rains.", constant=True)]}
    more = (await live.client.post("/lorebooks", json=book)).raise_for_status().json()["id"]
    session = await open_with(live, {})
    changes = {"note": {"text": "A note."}, "lorebook_ids": [more]}
    changed = (await live.client.patch(f"/sessions/{session}", json=changes)).raise_for_status().json()
    assert changed["note"]["text"] == "A note."
    assert changed["lorebook_ids"] == [more]
    told = await say(live, session, "A cat!")
    assert all(text in told for text in ("It rains.", "The sea is Odo's.", "Cats purr.", "A note."))
    await live.client.patch(f"/sessions/{session}", json={"note": None, "lorebook_ids": []})
    told = await say(live, session, "A cat!")
    assert not any(text in told for text in ("It rains.", "Cats purr.", "A note."))


@pytest.mark.anyio
async def test_lorebooks_of_personas_and_characters_go_along(live: Live) -> None:
    async def shelve(name: str) -> str:
        book = {"name": name, "entries": [entry("", f"Lore of {name}.", constant=True)]}
        made: str = (await live.client.post("/lorebooks", json=book)).raise_for_status().json()["id"]
        return made

    hers, its = await shelve("the persona"), await shelve("the character")
    persona = {"name": "Mira", "persona": "A thief.", "lorebook_ids": [hers]}
    played = (await live.client.post("/personas", json=persona)).raise_for_status().json()["id"]
    data = {"extensions": {"opencharacter": {"lorebooks": [its, "gone"]}}}
    session = await open_with(live, data, user={"persona_id": played})
    told = await say(live, session, "Hello.")
    assert "Lore of the persona." in told
    assert "Lore of the character." in told
    assert "# About Mira\nA thief." in told


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"lorebook_ids": ["nowhere"]}, 400, "lorebook_ids"),
        ({"user": {"persona_id": "nobody"}}, 404, None),
        ({"note": {"text": "x", "depth": -1}}, 400, "note.depth"),
        ({"note": {"text": "moon " * 4000}}, 400, "messages"),
    ],
)
async def test_unknown_books_and_personas_are_refused(
    live: Live, fields: dict[str, Any], status: int, param: str | None
) -> None:
    answer = await live.client.post("/sessions", json={"character_id": "lyra", **fields})
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param


@pytest.mark.anyio
async def test_session_keeps_its_character_or_follows_it(live: Live) -> None:
    await live.client.post("/characters", json={"id": "odo", "name": "Odo", "description": "A baker."})
    sessions = []
    for follow in (False, True):
        body = {"character_id": "odo", "follow": follow}
        sessions.append((await live.client.post("/sessions", json=body)).json()["id"])
    await live.client.patch("/characters/odo", json={"description": "A thief."})
    pinned, following = [await say(live, session, "Hello.") for session in sessions]
    assert "A baker." in pinned
    assert "A thief." in following
    read: httpx.Response = await live.client.get(f"/sessions/{sessions[1]}")
    assert (read.json()["character_version"], read.json()["follow"]) == (2, True)
    await live.client.delete("/characters/odo")
    assert "A thief." in await say(live, sessions[1], "Still there?")


@pytest.mark.anyio
async def test_clients_transcript_gets_the_lore_too(live: Live) -> None:
    card = {"id": "odo", "name": "Odo", "character_book": BOOK, "description": "{{roll:1000000}}"}
    await live.client.post("/characters", json=card)
    for text in ("A dragon, an oath!", "A dragon, an oath!"):
        body = {"model": "odo", "messages": [{"role": "user", "content": text}]}
        (await live.client.post("/v1/chat/completions", json=body)).raise_for_status()
    told = prompt(live)
    assert "# World\nThe sea is Odo's." in told.partition("<|eot_id|>")[0]
    assert "Dragons bite User." in told.partition("<|eot_id|>")[2]
    assert "An oath was sworn." in told
    assert live.engine.prompts[-1] == live.engine.prompts[-2]


@pytest.mark.anyio
async def test_regenerating_tells_what_chance_first_freezes(live: Live) -> None:
    only = {"opencharacter": {"freeze": True}, "triggers": ["regenerate"]}
    book = {"extensions": {}, "entries": [entry("oath", "An oath was sworn.", extensions=only)]}
    session = await open_with(live, {"character_book": book})
    assert "An oath was sworn." not in await say(live, session, "Swear the oath.")
    await live.client.post(f"/sessions/{session}/regenerate")
    assert "An oath was sworn." in prompt(live)
    await live.client.post(f"/sessions/{session}/regenerate")
    assert "An oath was sworn." in prompt(live)


@pytest.mark.anyio
async def test_lore_takes_the_room_there_is(live: Live) -> None:
    book = {"extensions": {}, "entries": [entry("dragon", "fire " * 300)]}
    session = await open_with(live, {"character_book": book, "description": "moon " * 700})
    assert "fire fire" in await say(live, session, "dragon")
    long = await say(live, session, "dragon " * 150)
    assert "fire fire" not in long


@pytest.mark.anyio
async def test_outlets_are_filled_or_empty(live: Live) -> None:
    held = {"position": 7, "outlet_name": "rules"}
    book = {"extensions": {}, "entries": [entry("", "No fire.", constant=True, extensions=held)]}
    data = {"character_book": book, "system_prompt": "Rules: {{outlet::rules}} {{outlet::other}}."}
    session = await open_with(live, data)
    assert (await say(live, session, "Hello.")).count("Rules: No fire. .") == 1


@pytest.mark.anyio
async def test_entry_that_ignores_the_budget_can_not_stop_the_server(live: Live) -> None:
    huge = entry("dragon", "fire " * 50_000, extensions={"ignore_budget": True})
    session = await open_with(live, {"character_book": {"extensions": {}, "entries": [huge]}})
    answer = await live.client.post(f"/sessions/{session}/messages", json={"content": "A dragon!"})
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert "Good night." in await say(live, session, "Good night.")


@pytest.mark.anyio
async def test_entries_called_as_places_are_told_apart(live: Live) -> None:
    book = {"extensions": {}, "entries": [entry("cat", "Cats.", id="#1"), entry("dog", "Dogs.")]}
    session = await open_with(live, {"character_book": book})
    assert "Cats.\nDogs." in await say(live, session, "A cat and a dog.")


@pytest.mark.anyio
async def test_personas_lorebooks_stay_when_others_are_chosen(live: Live) -> None:
    book = {"name": "hers", "entries": [entry("", "Lore of hers.", constant=True)]}
    hers = (await live.client.post("/lorebooks", json=book)).raise_for_status().json()["id"]
    persona = {"name": "Mira", "lorebook_ids": [hers]}
    played = (await live.client.post("/personas", json=persona)).raise_for_status().json()["id"]
    session = await open_with(live, {}, user={"persona_id": played})
    await live.client.patch(f"/sessions/{session}", json={"lorebook_ids": []})
    assert "Lore of hers." in await say(live, session, "Hello.")


@pytest.mark.anyio
async def test_frozen_lore_that_is_cut_is_told_again_on_that_very_turn(live: Live) -> None:
    session = await open_with(live, {})
    told = await say(live, session, "Swear the oath.")
    while "Swear the oath." in told:
        told = await say(live, session, f"The oath {'and the sea ' * 30}")
        assert told.count("An oath was sworn.") == 1
    character = (await live.client.get(f"/sessions/{session}")).json()["character_id"]
    shown = await live.client.get(f"/characters/{character}/prompt", params={"session": session, "text": "The oath."})
    texts = [block["text"] for block in shown.raise_for_status().json()["blocks"]]
    assert texts.count("An oath was sworn.") == 1


@pytest.mark.anyio
async def test_user_icon_is_the_sessions_or_its_personas(live: Live) -> None:
    book = {"extensions": {}, "entries": [entry("sea", "@@is_user_icon cat\nCats swim.")]}
    cat = {"name": "Mira", "icon": " cat "}
    played = (await live.client.post("/personas", json=cat)).raise_for_status().json()
    assert played["icon"] == "cat"

    async def is_told(user: dict[str, Any]) -> bool:
        session = await open_with(live, {"character_book": book}, user=user)
        return "Cats swim." in await say(live, session, "The sea!")

    assert await is_told({"persona_id": played["id"]})
    assert await is_told({"name": "Sam", "icon": "cat"})
    assert not await is_told({"persona_id": played["id"], "icon": "dog"})
    # Whoever has no icon is refused nothing for it.
    assert await is_told({"name": "Sam"})


@pytest.mark.anyio
async def test_users_icon_can_be_changed_and_is_bounded(live: Live) -> None:
    session = await open_with(live, {})
    changed = await live.client.patch(f"/sessions/{session}", json={"user": {"name": "Sam", "icon": "dog"}})
    assert changed.raise_for_status().json()["user"]["icon"] == "dog"
    too_long = await live.client.patch(f"/sessions/{session}", json={"user": {"icon": "a" * 201}})
    assert (too_long.status_code, too_long.json()["error"]["param"]) == (400, "user.icon")
