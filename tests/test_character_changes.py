"""Characters as clients change them: which ETag stands for which card, and what of a card comes back."""

import asyncio
from typing import Any

import httpx
import pytest

from app.store.characters import CharacterRecord
from characters.card import CardData, CharacterCard
from tests.live import Live

CARD = {
    "id": "odo",
    "name": "Odo",
    "persona": "A baker",
    "profile": {"name": "Odo", "age": "70"},
    "extensions": {"x": {"y": 1}, "opencharacter": {"note": "kept"}},
}


async def call(live: Live, method: str, path: str = "/characters/odo", **fields: Any) -> httpx.Response:
    answer = await live.client.request(method, path, **fields)
    return answer.raise_for_status()


async def create(live: Live) -> tuple[dict[str, Any], str]:
    """Odo as the server tells of him, and his ETag."""
    answer = await call(live, "POST", "/characters", json=CARD)
    return answer.json(), answer.headers["etag"]


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_etag_of_a_deleted_character_matches_no_later_one(live: Live, method: str) -> None:
    _, before = await create(live)
    await call(live, "DELETE")
    _, after = await create(live)
    assert before != after
    answer = await live.client.request(method, "/characters/odo", json={"name": "Odo"}, headers={"If-Match": before})
    assert answer.status_code == 412
    assert after in answer.json()["error"]["message"]
    unread = await call(live, "GET", headers={"If-None-Match": before})
    assert unread.status_code == 200


@pytest.mark.anyio
async def test_etag_is_another_after_each_change(live: Live) -> None:
    _, first = await create(live)
    tags = [first, *[(await call(live, "PATCH", json={})).headers["etag"] for _ in range(3)]]
    assert len({*tags}) == 4
    assert (await call(live, "GET")).headers["etag"] == tags[-1]


@pytest.mark.anyio
async def test_patches_that_are_sent_at_once_are_all_kept(live: Live) -> None:
    await create(live)
    book = {"entries": [{"keys": ["a"], "content": "b"}]}
    patches = [{f"x_{number}": number, "character_book": book} for number in range(8)]
    await asyncio.gather(*(call(live, "PATCH", json=patch) for patch in patches))
    kept = (await call(live, "GET")).json()
    assert {f"x_{number}" for number in range(8)} < kept["data"].keys()
    assert kept["version"] == 9


@pytest.mark.anyio
async def test_card_carries_profile_and_persona_in_its_extension(live: Live) -> None:
    made, _ = await create(live)
    ours = {"note": "kept", "persona": "A baker", "profile": {"name": "Odo", "age": "70"}}
    assert made["data"]["extensions"] == {"x": {"y": 1}, "opencharacter": ours}
    assert (await call(live, "GET")).json() == made


@pytest.mark.anyio
async def test_card_comes_back_whole_from_a_front_end(live: Live) -> None:
    made, _ = await create(live)
    kept = {"spec": made["spec"], "spec_version": made["spec_version"], "data": made["data"]}
    again = (await call(live, "POST", "/characters", json=kept)).json()
    assert again == made | {"id": "odo-2"}


@pytest.mark.anyio
async def test_card_without_profile_and_persona_has_no_extension(live: Live) -> None:
    made = (await call(live, "POST", "/characters", json={"name": "Plain"})).json()
    assert made["data"]["extensions"] == {}


@pytest.mark.anyio
@pytest.mark.parametrize("changes", [{"profile": None, "persona": ""}, {"profile": {"age": "71"}, "persona": "Old"}])
async def test_put_heeds_what_stands_beside_the_data(live: Live, changes: dict[str, Any]) -> None:
    made, _ = await create(live)
    changed = (await call(live, "PUT", json=made | changes)).json()
    assert (changed["profile"] or {}).get("age") == (changes["profile"] or {}).get("age")
    assert changed["persona"] == changes["persona"]
    assert changed["data"]["extensions"]["opencharacter"]["note"] == "kept"


@pytest.mark.anyio
async def test_patch_reaches_the_profile_through_the_extension(live: Live) -> None:
    await create(live)
    patch = {"data": {"extensions": {"opencharacter": {"profile": {"age": "71"}, "persona": "Old"}}}}
    changed = (await call(live, "PATCH", json=patch)).json()
    assert (changed["profile"]["name"], changed["profile"]["age"], changed["persona"]) == ("Odo", "71", "Old")
    assert changed["data"]["extensions"]["opencharacter"]["profile"] == {"name": "Odo", "age": "71"}


LONG = "A" * (1 << 20)
BOOK = {"entries": [{"keys": ["a"], "content": LONG, "enabled": True, "insertion_order": 1, "extensions": {}}]}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "fields",
    [{"description": LONG}, {"alternate_greetings": ["", LONG]}, {"character_book": BOOK}],
    ids=lambda fields: next(iter(fields)),
)
async def test_text_of_a_megabyte_is_refused_however_it_comes(live: Live, fields: dict[str, Any]) -> None:
    await create(live)
    for method, path in (("POST", "/characters"), ("PUT", "/characters/odo"), ("PATCH", "/characters/odo")):
        answer = await live.client.request(method, path, json={"name": "Odo", **fields})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "field_too_large")


@pytest.mark.anyio
async def test_text_that_was_longer_already_is_no_reason_to_refuse(live: Live) -> None:
    card = CharacterCard(data=CardData(name="Odo", description=LONG))
    await live.app.state.characters.create(CharacterRecord("odo", 1, card))
    assert (await call(live, "PATCH", json={"name": "Odo the second"})).json()["data"]["description"] == LONG


@pytest.mark.anyio
@pytest.mark.parametrize("entries", [5, "x", {"0": {"content": LONG}}, [None, {"content": 5}]])
async def test_book_of_odd_entries_is_no_bug(live: Live, entries: Any) -> None:
    answer = await live.client.post("/characters", json={"name": "Odo", "character_book": {"entries": entries}})
    assert answer.status_code in (201, 400)
