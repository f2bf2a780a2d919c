"""Cards made to do harm: each is refused with a word on what it is, or read as the plain text that it is."""

import io
import socket
import stat
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from characters.card import CardError
from characters.formats.picture import measure
from characters.formats.reading import read_card, unpack
from characters.formats.writing import write_card
from tests.cards import (
    ICON,
    PORTRAIT,
    V1,
    charx,
    chunk,
    dumps,
    encode,
    international_text,
    packed_text,
    png,
    text,
    v2,
    v3,
    with_entry,
    zipped,
)
from tests.strategies import FORGED_TURN, SPECIAL

MIB = 1 << 20
CARD = text("chara", encode(v2()))


def code_of(blob: bytes, read: Callable[[bytes], object] = read_card) -> str:
    with pytest.raises(CardError) as caught:
        read(blob)
    assert 20 < len(str(caught.value)) < 600
    return caught.value.code


def patched(blob: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    """`blob` with `value` at `offset` of each record that begins with `signature`."""
    parts = blob.split(signature)
    return signature.join(
        [parts[0], *(part[: offset - 4] + value + part[offset - 4 + len(value) :] for part in parts[1:])]
    )


ENCRYPTED = patched(patched(charx(v3()), b"PK\1\2", 8, b"\1\0"), b"PK\3\4", 6, b"\1\0")
LZMA = patched(charx(v3()), b"PK\1\2", 10, b"\x0e\0")
DAMAGED = charx(v3())[:60] + b"\xff" * 20 + charx(v3())[80:]
MANY_FILES = patched(charx(v3()), b"PK\5\6", 10, struct.pack("<H", 60_000))
HUGE_HEADER = PORTRAIT[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)) + PORTRAIT[33:]

HOSTILE = {
    "a chunk of 6 MB": (png(text("chara", b"A" * 6_000_000)), "chunk_too_large"),
    "a zTXt bomb": (png(packed_text("chara", bytes(300 * MIB))), "chunk_too_large"),
    "an iTXt bomb": (png(international_text("ccv3", bytes(300 * MIB), packed=True)), "chunk_too_large"),
    "a bomb in a file's chunk": (png(CARD, packed_text("chara-ext-asset_:1", b"A" * (80 * MIB))), "chunk_too_large"),
    "a card of 5 MB": (dumps(v2(extensions={"x": "A" * (5 * MIB)})), "card_too_large"),
    "a field of a megabyte": (dumps(v2(description="A" * MIB)), "field_too_large"),
    "a greeting of a megabyte": (dumps(v2(alternate_greetings=["A" * MIB])), "field_too_large"),
    "lore of a megabyte": (dumps(v2(character_book={"entries": [{"content": "A" * MIB}]})), "field_too_large"),
    "a name of a thousand": (dumps(v2(name="A" * 1000)), "field_too_large"),
    "a million values": (b'{"data": [' + b"[]," * 1_000_001 + b"[]]}", "document_too_large"),
    "JSON 200 deep": (b'{"name": "Ida", "description": ' + b"[" * 200 + b"]" * 200 + b"}", "too_deep"),
    "JSON 100,000 deep": (b"[" * 100_000, "too_deep"),
    "objects 200 deep": (b'{"data":' * 200 + b"1" + b"}" * 200, "too_deep"),
    "YAML 200 deep": (b"name: " + b"[" * 200 + b"]" * 200, "too_deep"),
    "YAML 100,000 deep": (b"- " * 100_000, "too_deep"),
    "a YAML bomb": (b"a: &a [x, x]\nb: &b [*a, *a]\nname: [*b, *b]\n", "invalid_yaml"),
    "a YAML object": (b"name: !!python/object/apply:os.system [id]\n", "invalid_yaml"),
    "YAML of many values": (b"name: a\ncontext: [" + b"a," * 550_000 + b"]", "document_too_large"),
    "two YAML documents": (b"name: a\n---\nname: b\n", "invalid_yaml"),
    "a key twice": (b'{"name": "Ida", "name": "Eve", "description": ""}', "duplicate_key"),
    "a key twice inside": (b'{"name": "Ida", "extensions": {"a": 1, "\\u0061": 2}}', "duplicate_key"),
    "a YAML key twice": (b"name: Ida\nname: Eve\ncontext: x\n", "duplicate_key"),
    "a number that is none": (b'{"name": "Ida", "description": NaN}', "invalid_number"),
    "a number beyond all": (b'{"name": "Ida", "description": "", "x": 1e999}', "invalid_number"),
    "an integer of 400 digits": (b'{"name": "Ida", "description": "", "x": ' + b"9" * 400 + b"}", "invalid_number"),
    "an integer of 10,000 digits": (b'{"name": "Ida", "x": ' + b"9" * 10_000 + b"}", "invalid_json"),
    "JSON cut off": (dumps(v2())[:-5], "invalid_json"),
    "Latin-1": ('{"name": "Zoë", "description": ""}'.encode("latin-1"), "not_utf8"),
    "Latin-1 in a chunk": (png(text("chara", '{"name": "Zoë"}'.encode("latin-1"))), "not_utf8"),
    "UTF-16": ('{"name": "Ida"}'.encode("utf-16"), "unknown_format"),
    "bad base64": (png(text("chara", b"%%%" + encode(v2()))), "bad_base64"),
    "base64 cut off": (png(text("chara", b"A")), "bad_base64"),
    "base64 of no JSON": (png(text("chara", b"AAAA")), "invalid_json"),
    "an encrypted card": (png(text("chara", b"rcc||rccv1||AAAA||BBBB||CCCC")), "encrypted_card"),
    "an encrypted file": (b"rcc||rccv1||AAAA||BBBB||CCCC", "encrypted_card"),
    "a wrong checksum": (png(CARD[:-1] + bytes([CARD[-1] ^ 1])), "bad_crc"),
    "a chunk cut off": (png(CARD)[: len(PORTRAIT) + 40], "truncated_png"),
    "a PNG without its end": (png(CARD)[:-12], "truncated_png"),
    "a chunk that says too much": (
        PORTRAIT[:-12] + struct.pack(">I4s", 1 << 31, b"tEXt") + b"chara\0",
        "truncated_png",
    ),
    "a PNG of rubbish": (PORTRAIT[:33] + bytes(100), "bad_chunk"),
    "a PNG without a header": (PORTRAIT[:8] + CARD + PORTRAIT[8:], "bad_chunk"),
    "a PNG of 2.5 gigapixels": (HUGE_HEADER, "picture_too_large"),
    "a packed chunk cut off": (png(chunk(b"zTXt", b"chara\0\0" + zlib.compress(encode(v2()))[:-9])), "bad_chunk"),
    "a packed chunk of rubbish": (png(chunk(b"zTXt", b"chara\0\0rubbish")), "bad_chunk"),
    "a PNG of 60,000 chunks": (png(*[chunk(b"tEXt", b"")] * 60_000), "bad_chunk"),
    "a file outside in a PNG": (png(CARD, text("chara-ext-asset_:../../a", b"AAAA")), "unsafe_path"),
    "a ZIP bomb": (charx(v3(), {"a.bin": bytes(40 * MIB)}), "zip_bomb"),
    "a ZIP of a huge file": (with_entry("a.bin", bytes(51 * MIB)), "file_too_large"),
    "a ZIP bomb as the card": (zipped({"card.json": bytes(40 * MIB)}), "zip_bomb"),
    "a ZIP of 60,000 files": (MANY_FILES, "zip_bomb"),
    "a path that climbs": (with_entry("assets/../../../etc/passwd"), "unsafe_path"),
    "a path that climbs on Windows": (with_entry("assets\\..\\..\\a"), "unsafe_path"),
    "an absolute path": (with_entry("/etc/passwd"), "unsafe_path"),
    "a path with a drive": (with_entry("C:/a"), "unsafe_path"),
    "a path with a line break": (with_entry("a\nb"), "unsafe_path"),
    "a link": (with_entry("a", b"/etc/passwd", stat.S_IFLNK | 0o777), "symlink"),
    "a file twice": (with_entry("card.json", dumps(v3(name="Eve"))), "duplicate_file"),
    "an encrypted ZIP": (ENCRYPTED, "encrypted_zip"),
    "a ZIP packed by LZMA": (LZMA, "invalid_zip"),
    "a damaged ZIP": (DAMAGED, "invalid_zip"),
    "a ZIP cut off": (charx(v3())[:-30], "invalid_zip"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused(name: str) -> None:
    blob, code = HOSTILE[name]
    assert code_of(blob) == code


@pytest.mark.parametrize("name", ["a zTXt bomb", "a bomb in a file's chunk", "a ZIP bomb", "a ZIP bomb as the card"])
def test_bomb_is_never_unpacked(name: str) -> None:
    blob = HOSTILE[name][0]
    tracemalloc.start()
    try:
        assert code_of(blob)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 160 * MIB


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_costs_little_time(name: str) -> None:
    started = time.process_time()
    assert code_of(HOSTILE[name][0])
    assert time.process_time() - started < 5


def test_many_small_files_cost_little_time() -> None:
    """What grows with the square of their number would take minutes."""
    asset = {"type": "a", "name": "", "ext": "", "opencharacter_path": "a.b"}
    assets = [asset | {"uri": f"data:,{number}"} for number in range(20_000)]
    started = time.process_time()
    assert len(read_card(dumps(v3(assets=assets))).files) == len(assets)
    assert len(read_card(png(CARD, *(text(f"chara-ext-asset_:{n}", b"") for n in range(20_000)))).files) == 20_001
    assert time.process_time() - started < 10


def test_hostile_zip_of_many_is_refused_or_tells_of_each_file() -> None:
    good, bomb = dumps(v2()), bytes(40 * MIB)
    results = dict(unpack(zipped({"ida.json": good, "bomb.json": bomb}), "many.zip"))
    assert results["ida.json"] == good
    assert isinstance(results["bomb.json"], CardError)
    assert results["bomb.json"].code == "zip_bomb"
    assert code_of(zipped({"../ida.json": good}), lambda blob: list(unpack(blob, "many.zip"))) == "unsafe_path"


def test_html_is_no_picture() -> None:
    page = b"<!DOCTYPE html><script>alert(1)</script>"
    assert code_of(page, measure) == "not_a_picture"
    assert code_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>", measure) == "not_a_picture"
    icon = {"type": "icon", "uri": f"embeded://{ICON}", "name": "main", "ext": "png"}
    read = read_card(charx(v3(assets=[icon]), {ICON: page}))
    assert read.avatar_path is None
    assert any("isn't a picture" in warning for warning in read.warnings)
    with Image.open(io.BytesIO(write_card(read, "png"))) as image:
        assert image.size == (400, 600)


def test_picture_is_measured_without_its_pixels() -> None:
    assert code_of(HUGE_HEADER, measure) == "picture_too_large"
    measured = measure(PORTRAIT[:60])
    assert (measured.suffix, measured.media_type, measured.width, measured.height) == ("png", "image/png", 400, 600)


def test_markup_in_every_field_is_read_as_the_text_that_it_is() -> None:
    markup = "".join(SPECIAL) + FORGED_TURN + "{{ 7 * 7 }}{% for a in b %}<script>alert(1)</script>\0"
    fields = dict.fromkeys(V1, markup) | {"name": markup[:150], "system_prompt": markup, "tags": [markup]}
    read = read_card(dumps(v3(**fields)))
    for form in ("json-v2", "json-v3", "png", "charx", "yaml"):
        data = read_card(write_card(read, form)).card.data
        assert {field: getattr(data, field) for field in fields} == fields


def test_no_address_in_a_card_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a card was let out")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    uris = ("https://example.com/a.png", "http://127.0.0.1/a", "file:///etc/passwd", "ftp://example.com/a")
    assets = [{"type": "icon", "uri": uri, "name": "main", "ext": "png"} for uri in uris]
    read = read_card(dumps(v3(assets=assets, avatar=uris[0], source=list(uris))))
    for form in ("png", "charx", "json-v3"):
        assert read_card(write_card(read, form)).card.data.assets == assets
    assert read.avatar_path is None
