"""What real files do that no specification says: read, reported, and nothing of it lost."""

import pytest

from characters.formats.cardfile import CardFile
from characters.formats.reading import read_card
from tests.cards import PORTRAIT, V1, Json, charx, dumps, encode, png, text, v2, v3, whole


def read(value: Json) -> CardFile:
    return read_card(dumps(value))


def warned(read: CardFile, *words: str) -> bool:
    return any(all(word in warning for word in words) for warning in read.warnings)


@pytest.mark.parametrize(
    ("field", "found", "expected"),
    [
        ("alternate_greetings", "Hello.", ["Hello."]),
        ("alternate_greetings", None, []),
        ("group_only_greetings", "Hello, all.", ["Hello, all."]),
        ("tags", "baker, warm ,, bread", ["baker", "warm", "bread"]),
        ("tags", ["a", 7], ["a", "7"]),
        ("description", None, ""),
        ("character_version", 1.5, "1.5"),
        ("mes_example", ["one", "two"], "one\ntwo"),
        ("creation_date", "2025-11-10T21:55:00.000Z", 1762811700),
        ("creation_date", "1762811700", 1762811700),
        ("creation_date", 1762811700000, 1762811700),
        ("modification_date", 1762811700.5, 1762811700),
        ("modification_date", "yesterday", "yesterday"),
        ("source", "https://example.com", ["https://example.com"]),
        ("nickname", 7, "7"),
    ],
)
def test_field_of_the_wrong_type_is_coerced_and_reported(field: str, found: Json, expected: Json) -> None:
    card = read(v2(**{field: found}))
    assert getattr(card.card.data, field) == expected
    assert card.warnings


@pytest.mark.parametrize("field", ["character_book", "assets", "nickname", "creation_date"])
def test_null_is_reported_and_read_as_missing(field: str) -> None:
    card = read(v3(**{field: None}))
    assert warned(card, field, "null")
    assert field not in whole(card)["data"]


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("description", {"a": 1}),
        ("tags", {"a": 1}),
        ("alternate_greetings", 7),
        ("character_book", "none"),
        ("assets", {"icon": "x"}),
        ("nickname", ["a", 1]),
        ("creator_notes_multilingual", ["en"]),
        ("source", [{}]),
        ("creation_date", True),
        ("creation_date", 1e300),
    ],
)
def test_what_cannot_be_read_is_kept_and_reported(field: str, found: Json) -> None:
    card = read(v3(**{field: found}))
    assert card.card.data.extensions["opencharacter"]["unread"] == {field: found}
    assert warned(card, field)
    assert read(card.to_json("v3")).card == card.card


@pytest.mark.parametrize("extensions", ["x", 7, [1], {"opencharacter": "x"}, {"opencharacter": {"unread": "x"}}])
def test_extensions_of_the_wrong_type_are_kept(extensions: Json) -> None:
    card = read(v2(extensions=extensions, tags=7))
    assert "x" in str(card.card.data.extensions) or str(extensions) in str(card.card.data.extensions)
    assert card.card.data.extensions["opencharacter"]["unread"]["tags"] == 7


@pytest.mark.parametrize("ours", [{"profile": "a baker"}, {"persona": 7}, {"persona": "x" * 5000}])
def test_profile_of_another_kind_is_kept(ours: Json) -> None:
    card = read(v2(extensions={"opencharacter": ours})).card
    assert (card.profile, card.persona) == (None, "")
    assert card.data.extensions["opencharacter"]["unread"] == ours


@pytest.mark.parametrize("spec_version", [2.0, 3, "3.1", None, "newest"])
def test_any_spec_version_is_accepted(spec_version: Json) -> None:
    card = read(v3() | {"spec_version": spec_version})
    assert card.card.name == "Ida"
    assert bool(card.warnings) == (spec_version != "newest")


def test_newer_spec_is_read_with_a_warning() -> None:
    card = read(v3(voice="alto") | {"spec": "chara_card_v4", "spec_version": "4.0"})
    assert card.card.data.model_extra == {"voice": "alto"}
    assert warned(card, "chara_card_v4")
    assert warned(card, "newer")


def test_fields_beside_the_data_lose_and_stay() -> None:
    value = {**V1, "name": "Ada", "tags": ["old"], "fav": True, **v2(tags=["new"])}
    card = read(value)
    assert (card.card.name, card.card.data.tags) == ("Ida", ["new"])
    assert warned(card, "`name`", "differs")
    assert not warned(card, "`description`")
    assert card.to_json("v2")["name"] == "Ada"
    assert card.to_json("v2")["fav"] is True


def test_fields_beside_the_data_fill_what_it_lacks() -> None:
    card = read({"spec": "chara_card_v2", "spec_version": "2.0", "tags": ["a"], "data": {"name": "Ida"}})
    assert card.card.data.tags == ["a"]
    assert warned(card, "`tags`", "moved")


def test_flat_card_with_a_spec_is_read() -> None:
    card = read({"spec": "chara_card_v2", "spec_version": "2.0", **V1})
    assert card.card.data.first_mes == V1["first_mes"]
    assert warned(card, "`data` was missing")


def test_v1_extras_are_kept_where_v2_has_them() -> None:
    extras = {"creatorcomment": "By me.", "talkativeness": "0.5", "fav": False}
    data = read(V1 | extras | {"avatar": "none", "metadata": {"tool": 1}}).card.data
    assert data.creator_notes == "By me."
    assert data.extensions == {"talkativeness": "0.5", "fav": False}
    assert data.model_extra == {"avatar": "none", "metadata": {"tool": 1}}


def test_our_own_answers_are_read_without_what_the_server_added() -> None:
    profile = {"name": "Ida", "likes": "rye"}
    card = read(v3() | {"id": "ida", "version": 3, "warnings": [], "profile": profile, "persona": "A baker."})
    assert card.card.profile is not None
    assert (card.card.profile.likes, card.card.persona) == ("rye", "A baker.")
    assert card.card.data.extensions == {}


def test_risuai_folders_and_wyvern_entries_are_kept_and_reported() -> None:
    folder = {"keys": ["\uf000folder:1f"], "content": "", "enabled": True, "insertion_order": 1, "extensions": {}}
    hollow = folder | {"keys": [""], "constant": True}
    wyvern = folder | {"keys": ["rye"], "content": "Bread.", "entry_id": "e1", "key_logic": "AND", "sticky": 2}
    book = {"entries": [folder, hollow, wyvern], "extensions": {}, "_id": "b1", "photoURL": "x", "gallery": []}
    card = read(v2(character_book=book))
    kept = card.card.data.character_book
    assert kept is not None
    assert {key: kept[key] for key in ("_id", "photoURL", "gallery")} == {"_id": "b1", "photoURL": "x", "gallery": []}
    assert [entry["keys"] for entry in kept["entries"]] == [["\uf000folder:1f"], [""], ["rye"]]
    assert kept["entries"][2]["entry_id"] == "e1"
    assert warned(card, "1 of its entries", "folder")
    assert warned(card, "`entry_id`", "`key_logic`", "`sticky`")
    assert warned(card, "`photoURL`")


def test_book_is_made_sound() -> None:
    entry = {"keys": "rye, bread", "content": None, "insertion_order": "7", "enabled": 1}
    card = read(v2(character_book={"entries": {"0": entry}}))
    kept = card.card.data.character_book
    assert kept is not None
    assert kept["entries"][0]["keys"] == ["rye", "bread"]
    assert (kept["entries"][0]["content"], kept["entries"][0]["insertion_order"]) == ("", 7)
    assert warned(card, "character_book")


@pytest.mark.parametrize(
    ("uri", "word"),
    [("/storage/emulated/0/a.png", "no kind"), ("embeded://a.png", "isn't here"), ("__asset:4", "isn't here")],
)
def test_address_that_leads_nowhere_is_kept_and_reported(uri: str, word: str) -> None:
    asset = {"type": "emotion", "uri": uri, "name": "joy", "ext": "png"}
    card = read(v3(assets=[asset]))
    assert card.card.data.assets == [asset]
    assert warned(card, "asset 0", word)


def test_asset_with_missing_fields_gets_them() -> None:
    card = read(v3(assets=[{"uri": "ccdefault:", "type": "icon"}]))
    assert card.card.data.assets == [{"uri": "ccdefault:", "type": "icon", "name": "", "ext": "unknown"}]
    assert warned(card, "missing")


def test_data_address_becomes_a_file() -> None:
    icon = {"type": "icon", "uri": "data:image/png;base64,iVBORw==", "name": "main", "ext": "png"}
    sound = {"type": "x_voice", "uri": "data:audio/mpeg,%00a", "name": "hi", "ext": "mp3"}
    card = read(v3(assets=[icon, sound, sound]))
    assert card.files == {"assets/icon/images/main.png": b"\x89PNG", "assets/x_voice/audio/1.mp3": b"\0a"} | {
        "assets/x_voice/audio/2.mp3": b"\0a"
    }
    assert warned(card, "isn't a picture")


def test_address_is_spelt_as_the_specification_spells_it() -> None:
    asset = {"type": "emotion", "uri": "embedded://a.png", "name": "joy", "ext": "png"}
    card = read_card(charx(v3(assets=[asset]), {"a.png": PORTRAIT}))
    assert (card.card.data.assets or [])[0]["uri"] == "embeded://a.png"
    assert warned(card, "embeded")


RAW = encode(v2())


@pytest.mark.parametrize(
    "raw", [dumps(v2()), RAW.rstrip(b"="), RAW[:9] + b"\n " + RAW[9:]], ids=["bare", "cut", "lines"]
)
def test_chunk_without_padding_or_base64_is_read(raw: bytes) -> None:
    assert read_card(png(text("chara", raw))).card.name == "Ida"


def test_half_a_character_is_replaced_and_reported() -> None:
    card = read_card(b'{"name": "Ida", "description": "\\ud83d and \\ud83d\\ude00"}')
    assert card.card.data.description == "\ufffd and \U0001f600"
    assert warned(card, "surrogate")


def test_warnings_are_bounded() -> None:
    card = read(v3(assets=[{"type": str(i), "uri": f"/storage/{i}"} for i in range(500)]))
    assert len(card.warnings) < 60
    assert all(len(warning) < 500 for warning in card.warnings)
