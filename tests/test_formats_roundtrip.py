"""Import, export, import: nothing of a card is lost on the way, whichever two formats it goes through."""

from collections.abc import Mapping
from itertools import product
from typing import Literal, get_args

import orjson
import pytest
from hypothesis import HealthCheck, given, settings

from characters.card import CardData, CharacterCard, build_card
from characters.formats.assets import embedded_path
from characters.formats.cardfile import CardFile
from characters.formats.chunks import is_keyword
from characters.formats.fields import LISTS, TEXTS
from characters.formats.reading import read_card
from characters.formats.writing import Format, write_card
from characters.formats.yamltext import dump_yaml, parse_yaml
from characters.library import load_library
from characters.profile import Profile
from tests.cards import Json, charx, files, raw_cards, texts, values, whole

FORMATS: tuple[Format, ...] = get_args(Format)
# Cards are large as hypothesis' examples go.
thorough = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def held(card_file: CardFile, format: Format) -> dict[str, bytes]:
    """The files of a card that a format has room for."""
    named = set(map(embedded_path, card_file.card.data.assets or []))
    match format:
        case "charx":
            return dict(card_file.files)
        case "png":
            # Where no asset names a file, its chunk's keyword must.
            return {p: b for p, b in card_file.files.items() if p in named or is_keyword(f"chara-ext-asset_:{p}")}
        case "yaml":
            return {}
        case _:
            return {path: blob for path, blob in card_file.files.items() if path in named}


def through(card_file: CardFile, format: Format) -> CardFile:
    """The card, written and read; it has all that the format holds."""
    back = read_card(write_card(card_file, format))
    assert whole(back) == whole(card_file)
    assert back.card == card_file.card
    assert _named(back.files) == _named(held(card_file, format))
    return back


def _named(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Without those whose path got lost in a PNG."""
    return {path: blob for path, blob in files.items() if not path.startswith("opencharacter-")}


@pytest.mark.parametrize(("first", "second"), list(product(FORMATS, FORMATS)))
@given(raw_cards, files)
@thorough
def test_card_comes_back_whole_through_any_two_formats(
    first: Format, second: Format, raw: Json, files: dict[str, bytes]
) -> None:
    there = read_card(charx(raw, files))
    through(through(there, first), second)


@given(raw_cards, files)
@thorough
def test_reading_keeps_every_value_of_a_sound_card(raw: Json, files: dict[str, bytes]) -> None:
    data = read_card(charx(raw, files)).card.data.model_dump()
    settled = ("assets", "character_book")
    for field, value in raw["data"].items():
        if field == "extensions":
            assert {key: data[field][key] for key in value} == value
        elif field not in settled:
            assert data[field] == value


@given(raw_cards, files)
@thorough
def test_export_keeps_what_stood_beside_the_data(raw: Json, files: dict[str, bytes]) -> None:
    written = orjson.loads(write_card(read_card(charx(raw, files)), "json-v3"))
    assert {key: item for key, item in written.items() if key != "data"} == {
        k: v for k, v in raw.items() if k != "data"
    }


@given(values | texts)
@settings(max_examples=200)
def test_yaml_keeps_every_value(value: Json) -> None:
    assert parse_yaml(dump_yaml({"key": value})) == {"key": value}


@pytest.mark.parametrize("spec", ["v2", "v3"])
def test_export_has_every_field_that_the_specification_requires(spec: Literal["v2", "v3"]) -> None:
    made = CardFile(CharacterCard(data=CardData(name="Ida", first_mes="Hello.")))
    written = orjson.loads(write_card(made, "json-v2" if spec == "v2" else "json-v3"))
    assert written["spec"] == f"chara_card_{spec}"
    assert all(written["data"][field] == "" for field in TEXTS if field not in ("name", "first_mes"))
    assert [written["data"][field] for field in LISTS] == [[], [], []]
    assert written["data"]["extensions"] == {}


def test_profile_and_persona_travel_in_every_format() -> None:
    made = CardFile(build_card(Profile(name="Ida", likes="rye"), "A baker."))
    for kind in FORMATS:
        back = read_card(write_card(made, kind)).card
        assert (back.profile, back.persona) == (made.card.profile, "A baker.")


@pytest.mark.parametrize("name", load_library())
def test_shipped_characters_come_back_from_every_format(name: str) -> None:
    made = CardFile(load_library()[name])
    for kind in FORMATS:
        assert read_card(write_card(made, kind)).card.to_v2() == made.card.to_v2() | {
            "data": made.card.to_v2()["data"] | {"group_only_greetings": []}
        }
