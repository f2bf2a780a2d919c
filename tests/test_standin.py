"""A description for programs that know no profile: it goes out with the card, and doesn't come home."""

from itertools import product
from typing import get_args

import orjson
import pytest
from hypothesis import HealthCheck, given, settings

from characters.card import CardData, CharacterCard, build_card, parse_card
from characters.formats import cardfile
from characters.formats.cardfile import CardFile
from characters.formats.reading import read_card
from characters.formats.writing import Format, write_card
from characters.profile import Profile
from characters.standin import MARK
from tests.cards import Json, raw_cards, whole
from tests.live import Live
from tests.uploads import bring, send

FORMATS: tuple[Format, ...] = get_args(Format)
IDA = CardFile(build_card(Profile(name="Ida", likes="rye", habits=["hums"]), "A baker."))
LINES = "Name: Ida\nLikes: rye\nHabit: hums"


def written(card_file: CardFile) -> Json:
    return orjson.loads(write_card(card_file, "json-v2"))


@pytest.mark.parametrize("kind", FORMATS)
def test_profile_is_told_as_the_description_and_not_twice(kind: Format) -> None:
    blob = write_card(IDA, kind)
    if kind == "yaml":
        assert b"Habit: hums" in blob.partition(b"opencharacter:")[0]
    back = read_card(blob)
    assert back.card.data.description == ""
    assert (back.card.profile, back.card.data.extensions) == (IDA.card.profile, {})
    assert written(back)["data"]["description"] == LINES
    assert not back.warnings


@pytest.mark.parametrize(("first", "second"), list(product(FORMATS, FORMATS)))
@given(raw_cards)
@settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_card_with_a_profile_comes_back_whole(first: Format, second: Format, raw: Json) -> None:
    extensions = {**raw["data"].get("extensions", {}), "opencharacter": {"profile": {"name": "Ida", "likes": "rye"}}}
    raw = {**raw, "data": {**raw["data"], "description": "", "extensions": extensions}}
    there = read_card(orjson.dumps(raw, option=orjson.OPT_NON_STR_KEYS))
    assert there.card.data.description == ""
    once = read_card(write_card(there, first))
    assert whole(once) == whole(there)
    assert whole(read_card(write_card(once, second))) == whole(there)


def test_description_of_its_own_is_left_alone() -> None:
    own = written(CardFile(IDA.card.model_copy(update={"data": CardData(name="Ida", description=" ")})))["data"]
    assert own["description"] == " "
    assert MARK not in own["extensions"]["opencharacter"]
    assert written(CardFile(CharacterCard(data=CardData(name="Ida"))))["data"]["description"] == ""
    assert written(CardFile(CharacterCard(data=CardData(name="Ida"), profile=Profile())))["data"]["description"] == ""


@pytest.mark.parametrize("description", [LINES + " ", "A baker.", LINES.replace("rye", "salt"), ""])
def test_changed_description_is_the_users(description: str) -> None:
    value = written(IDA)
    value["data"]["description"] = description
    card = read_card(orjson.dumps(value)).card
    assert card.data.description == description
    assert MARK not in card.data.extensions.get("opencharacter", {})


def test_description_stays_where_the_profile_was_lost() -> None:
    value = written(IDA)
    del value["data"]["extensions"]["opencharacter"]["profile"]
    assert read_card(orjson.dumps(value)).card.data.description == LINES
    assert parse_card(value).data.description == LINES


def test_front_end_that_writes_fields_beside_the_data_brings_none_back() -> None:
    value = written(IDA)
    value |= {"name": "Ida", "description": LINES, "first_mes": value["data"]["first_mes"]}
    read = read_card(orjson.dumps(value))
    assert (read.card.data.description, read.warnings) == ("", ())


def test_card_that_would_get_too_large_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cardfile, "MAX_CARD_BYTES", len(orjson.dumps(written(IDA)["data"])) - 1)
    assert written(IDA)["data"]["description"] == ""


@pytest.mark.anyio
async def test_completed_character_goes_out_and_comes_home_by_any_way(live: Live) -> None:
    made = (
        await live.client.post("/characters", json={"id": "ida", "name": "Ida", "profile": {"likes": "rye"}})
    ).json()
    file = (await live.client.get("/characters/ida/export", params={"format": "json-v3"})).content
    told = orjson.loads(file)
    assert told["data"]["description"] == "Likes: rye"
    again = await live.client.post("/characters", json=told | {"id": "again"})
    put = await live.client.put("/characters/ida", json=told)
    imported = (await live.client.get(await bring(live, file))).json()
    for answer in (again.json(), put.json(), imported):
        assert answer["data"]["description"] == ""
        assert (answer["profile"], answer["data"]["extensions"]) == (made["profile"], made["data"]["extensions"])
    assert (await send(live, file)).json()["results"][0]["warnings"] == []
