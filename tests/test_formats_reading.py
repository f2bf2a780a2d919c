"""Every format and dialect that cards come in, told by its content."""

import io

import pytest
import yaml
from PIL import Image

from characters.card import CardError
from characters.formats.cardfile import CardFile
from characters.formats.gallery import Gallery
from characters.formats.picture import draw_default, measure
from characters.formats.reading import read_card, unpack
from characters.formats.writing import write_card
from tests.cards import (
    ICON,
    PORTRAIT,
    V1,
    Json,
    charx,
    dumps,
    encode,
    international_text,
    packed_text,
    png,
    text,
    v2,
    v3,
    zipped,
)

PYGMALION = {
    "char_name": "Ida",
    "char_persona": "A baker.",
    "char_greeting": "Good morning, {{user}}.",
    "example_dialogue": "You: Hello!\nIda: Hello yourself.",
    "world_scenario": "The shop is open.",
}
AGNAI = {
    "kind": "character",
    "name": "Ida",
    "persona": {"kind": "boostyle", "attributes": {"trade": ["baker", "miller"], "mood": ["warm"]}},
    "greeting": "Good morning.",
    "sampleChat": "{{user}}: Hello!",
    "scenario": "The shop is open.",
    "description": "made for a test",
    "alternateGreetings": ["Evening."],
    "characterBook": {"kind": "memory", "entries": [{"keywords": ["rye"], "entry": "Bread.", "name": "", "weight": 2}]},
    "extensions": {},
}


def code_of(blob: bytes) -> str:
    with pytest.raises(CardError) as caught:
        read_card(blob)
    assert len(str(caught.value)) > 20
    return caught.value.code


@pytest.mark.parametrize("value", [V1, v2(), v3()], ids=["v1", "v2", "v3"])
def test_specifications_are_read(value: Json) -> None:
    read = read_card(dumps(value))
    assert {field: getattr(read.card.data, field) for field in V1} == V1
    assert read.warnings == ()


def test_pygmalion_is_read() -> None:
    data = read_card(dumps(PYGMALION)).card.data
    assert (data.name, data.description, data.first_mes) == ("Ida", "A baker.", "Good morning, {{user}}.")
    assert (data.mes_example, data.scenario) == (PYGMALION["example_dialogue"], "The shop is open.")
    assert not data.model_extra


def test_both_sets_of_names_in_one_file_agree_or_are_kept() -> None:
    read = read_card(dumps(V1 | PYGMALION))
    assert read.card.data.mes_example == V1["mes_example"]
    assert read.card.data.model_extra == {"example_dialogue": PYGMALION["example_dialogue"]}
    assert any("example_dialogue" in warning for warning in read.warnings)


@pytest.mark.parametrize("key", ["name", "bot", "<|bot|>", "char_name"])
def test_textgen_yaml_is_read_whatever_it_calls_the_name(key: str) -> None:
    told = {key: "Ida", "greeting": "Good morning.", "context": "A baker.\nWarm.\n", "your_name": "Sam"}
    data = read_card(yaml.safe_dump(told).encode()).card.data
    assert (data.name, data.first_mes, data.description) == ("Ida", "Good morning.", "A baker.\nWarm.\n")
    assert data.model_extra == {"your_name": "Sam"}


def test_yaml_words_and_dates_stay_text() -> None:
    data = read_card(b"name: No\ngreeting: 2024-01-01\ncontext: 12:30:00\n").card.data
    assert (data.name, data.first_mes, data.description) == ("No", "2024-01-01", "12:30:00")


def test_yaml_that_was_changed_by_hand_wins_over_the_card_beside_it() -> None:
    written = write_card(read_card(dumps(v3(tags=["a"]))), "yaml").decode()
    read = read_card(written.replace("greeting: Good morning, {{user}}.", "greeting: Hey.", 1).encode())
    assert (read.card.data.first_mes, read.card.data.description, read.card.data.tags) == ("Hey.", "A baker.", ["a"])
    assert any("greeting" in warning for warning in read.warnings)


def test_agnai_is_read_and_its_persona_kept() -> None:
    data = read_card(dumps(AGNAI)).card.data
    assert data.description == "trade: baker, miller\nmood: warm"
    assert (data.first_mes, data.alternate_greetings, data.creator_notes) == (
        "Good morning.",
        ["Evening."],
        "made for a test",
    )
    assert data.extensions["agnai"]["persona"] == AGNAI["persona"]
    assert data.character_book is not None
    assert [(entry["keys"], entry["content"]) for entry in data.character_book["entries"]] == [(["rye"], "Bread.")]


@pytest.mark.parametrize("keyword", ["chara", "ccv3", "Chara", "chara_card_v3"])
@pytest.mark.parametrize("build", [text, packed_text, international_text], ids=["tEXt", "zTXt", "iTXt"])
def test_png_is_read_from_any_text_chunk(build, keyword: str) -> None:  # type: ignore[no-untyped-def]
    assert read_card(png(build(keyword, encode(v2())))).card.data.description == "A baker."


def test_png_is_read_from_a_packed_international_chunk() -> None:
    assert read_card(png(international_text("chara", encode(v2()), packed=True))).card.name == "Ida"


def test_ccv3_wins_in_any_order() -> None:
    chunks = [text("chara", encode(v2(name="Second"))), text("ccv3", encode(v3(name="Third")))]
    assert read_card(png(*chunks)).card.name == read_card(png(*reversed(chunks))).card.name == "Third"


def test_first_of_several_chunks_is_read_with_a_warning() -> None:
    read = read_card(png(text("chara", encode(v2(name="One"))), text("chara", encode(v2(name="Two")))))
    assert read.card.name == "One"
    assert any("several" in warning for warning in read.warnings)


def test_png_keeps_its_picture_as_the_main_icon() -> None:
    read = read_card(png(text("chara", encode(v2()))))
    assert read.files == {ICON: PORTRAIT}
    assert read.avatar_path == ICON
    assert read.card.data.assets == [{"type": "icon", "uri": f"embeded://{ICON}", "name": "main", "ext": "png"}]


def test_png_written_has_both_chunks_on_the_untouched_picture() -> None:
    written = write_card(read_card(png(text("chara", encode(v2())))), "png")
    assert b"tEXtchara\0" in written
    assert b"tEXtccv3\0" in written
    assert written.startswith(PORTRAIT[:-12])
    with Image.open(io.BytesIO(written)) as image:
        image.load()
        assert {"chara", "ccv3"} <= set(image.text)  # type: ignore[attr-defined]


def test_apng_keeps_its_frames() -> None:
    out = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    written = write_card(read_card(png(text("chara", encode(v2())), picture=out.getvalue())), "png")
    assert read_card(written).files[ICON] == out.getvalue()
    with Image.open(io.BytesIO(written)) as image:
        assert image.n_frames == 3  # type: ignore[attr-defined]


def with_avatar(before: CardFile, picture: bytes) -> CardFile:
    gallery = Gallery(before.card, {path: path for path in before.files}).with_avatar("new", measure(picture).suffix)
    files = {**before.files, "new": picture}
    return CardFile(gallery.card, {path: files[name] for path, name in gallery.files.items()})


def test_icon_of_another_kind_is_shown_on_the_png_and_kept_as_it_is() -> None:
    out = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(out, "JPEG")
    read = with_avatar(read_card(dumps(v3())), out.getvalue())
    written = write_card(read, "png")
    with Image.open(io.BytesIO(written)) as image:
        assert (image.format, image.size) == ("PNG", (30, 20))
    assert read_card(written).files == {"assets/icon/images/main.jpg": out.getvalue()}


def test_card_without_a_picture_gets_a_drawing_that_is_not_taken_for_one() -> None:
    written = write_card(read_card(dumps(v3())), "png")
    with Image.open(io.BytesIO(written)) as image:
        assert image.size == (400, 600)
    assert read_card(written).files == {}
    assert draw_default("Ida") == draw_default("Ida") != draw_default("Ada")


def test_risuai_files_in_png_keep_the_names_that_extensions_know_them_by() -> None:
    value = v2(extensions={"risuai": {"emotions": [["joy", "__asset:1"]]}})
    chunks = [text("chara-ext-asset_:1", b"AAEC"), text("chara-ext-asset_2", b"AwQF"), text("chara", encode(value))]
    written = write_card(read_card(png(*chunks)), "png")
    assert b"chara-ext-asset_:1\0AAEC" in written
    assert read_card(written).files == {"1": b"\0\1\2", "2": b"\3\4\5", ICON: PORTRAIT}


def test_charx_is_read_with_all_its_files() -> None:
    files = {ICON: PORTRAIT, "module.risum": b"\0lua", "x_meta/0.json": b"{}"}
    icon = {"type": "icon", "uri": f"embeded://{ICON}", "name": "main", "ext": "png"}
    read = read_card(charx(v3(assets=[icon]), files))
    assert read.files == files
    assert read_card(write_card(read, "charx")) == read


def test_charx_behind_a_jpeg_is_read_and_the_jpeg_is_its_picture() -> None:
    out = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(out, "JPEG")
    read = read_card(out.getvalue() + charx(v3(), {"module.risum": b"x"}))
    assert read.files == {"assets/icon/images/main.jpg": out.getvalue(), "module.risum": b"x"}
    assert read.avatar_path == "assets/icon/images/main.jpg"


def test_avatar_is_changed_and_the_old_one_goes() -> None:
    out = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(out, "WEBP")
    before = read_card(png(text("chara", encode(v2())), text("chara-ext-asset_:1", b"AAAA")))
    after = with_avatar(before, out.getvalue())
    assert after.avatar_path == "assets/icon/images/main.webp"
    assert after.files == {"1": b"\0\0\0", "assets/icon/images/main.webp": out.getvalue()}
    assert read_card(write_card(after, "charx")).card == after.card
    assert read_card(write_card(after, "png")).card == after.card
    assert before.avatar_path == ICON


def test_zip_of_many_gives_each_file_and_skips_what_systems_add() -> None:
    files = {"a/ida.json": dumps(v2()), "b.png": PORTRAIT, "__MACOSX/b.png": b"x", "a/.DS_Store": b"x"}
    assert dict(unpack(zipped(files), "many.zip")) == {"a/ida.json": dumps(v2()), "b.png": PORTRAIT}


@pytest.mark.parametrize("blob", [dumps(v2()), charx(v3()), b"", PORTRAIT], ids=["json", "charx", "empty", "png"])
def test_anything_else_is_unpacked_as_it_is(blob: bytes) -> None:
    assert list(unpack(blob, "it")) == [("it", blob)]


@pytest.mark.parametrize(
    ("blob", "code"),
    [
        (b" \n", "empty_file"),
        (b"just some words", "unknown_format"),
        (b"[1, 2]", "not_a_card"),
        (b'{"model": "x", "temperature": 1}', "not_a_card"),
        (b'{"name": "Ida"}', "not_a_card"),
        (dumps(v2(name="  ")), "no_name"),
        (dumps({"entries": {"0": {"key": ["a"], "content": "b"}}}), "is_lorebook"),
        (dumps({"name": "Bread", "description": "All of it.", "entries": []}), "is_lorebook"),
        (dumps({"spec": "lorebook_v3", "data": {"entries": []}}), "is_lorebook"),
        (dumps({"type": "risu", "data": []}), "is_lorebook"),
        (png(text("naidata", b"e30=")), "is_lorebook"),
        (PORTRAIT, "no_card_in_png"),
        (png(text("parameters", b"a cat")), "no_card_in_png"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "no_card_in_jpeg"),
        (zipped({"readme.txt": b"x"}), "no_card_in_zip"),
        (b"GIF89a" + bytes(9), "unknown_format"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "unknown_format"),
        (b"<!DOCTYPE html><html>", "unknown_format"),
        (b"%PDF-1.7", "unknown_format"),
        (bytes(range(1, 20)) + bytes(9), "unknown_format"),
    ],
)
def test_what_is_no_card_is_named(blob: bytes, code: str) -> None:
    assert code_of(blob) == code
