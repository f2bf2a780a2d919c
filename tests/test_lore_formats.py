"""Lorebooks of every kind that people have: read by their content, and whole again after a journey."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from characters.card import CardError
from characters.formats.chunks import build_png, parse_chunks, text_chunk
from characters.formats.lorebooks import (
    LorebookFormat,
    build_lorebook_file,
    read_lorebook,
    write_sillytavern,
    write_v3,
)
from characters.formats.picture import draw_default
from characters.lore.rulebook import build_rulebook
from characters.lorebook import LorebookError
from tests.lore import json_values, names, rules, run, survives, through_json, v3_books, world

Fields = dict[str, Any]


@given(v3_books)
def test_v3_comes_back_as_it_was(value: Fields) -> None:
    read = build_lorebook_file({"spec": "lorebook_v3", "data": value})
    assert (read.format, read.warnings) == (LorebookFormat.V3, ())
    assert write_v3(read.book) == {"spec": "lorebook_v3", "data": value}


AGNAI = {
    "kind": "memory",
    "_id": "x",
    "name": "Woods",
    "description": "of trees",
    "entries": [
        {"name": "Ash", "entry": "an ash", "keywords": ["ash"], "weight": 3, "priority": 9, "enabled": True, "x": 1},
        {"name": "Elm", "entry": "an elm", "keywords": ["elm"], "weight": 1, "priority": 1, "enabled": False},
    ],
}
NOVELAI = {
    "lorebookVersion": 5,
    "settings": {"orderByKeyLocations": False},
    "categories": [{"id": "c", "name": "off", "enabled": False}],
    "entries": [
        {
            "text": "an ash beside an elm",
            "displayName": "Ash",
            "keys": ["ash", "/ASH/"],
            "enabled": True,
            "id": "1",
            "searchRange": 1000,
            "contextConfig": {"budgetPriority": 400, "prefix": ""},
        },
        {"text": "an elm", "displayName": "Elm", "keys": ["elm"], "enabled": True, "nonStoryActivatable": True},
        {"text": "yew", "displayName": "Yew", "keys": [], "enabled": True, "forceActivation": True, "category": "c"},
    ],
}
RISU = {
    "type": "risu",
    "ver": 1,
    "data": [
        {
            "key": "ash, elm",
            "secondkey": "old",
            "selective": True,
            "comment": "Ash",
            "content": "an ash",
            "alwaysActive": False,
            "insertorder": 7,
            "mode": "normal",
            "activationPercent": 100,
            "extentions": {"risu_case_sensitive": True},
        },
        {"key": "/y{1,2}ew/i", "useRegex": True, "comment": "Yew", "content": "a yew", "alwaysActive": False},
        {"key": "\uf000folder:1", "comment": "Folder", "content": "", "mode": "folder"},
        {"key": "", "comment": "Oak", "content": "an oak", "alwaysActive": True},
    ],
}


def tell(value: Fields, text: str) -> list[str]:
    book = build_lorebook_file(value).book.to_v3()
    return names(run(book.pop("entries"), text, **book))


def test_agnai_is_read() -> None:
    read = build_lorebook_file(AGNAI)
    assert (read.format, read.book.name, read.warnings) == (LorebookFormat.AGNAI, "Woods", ())
    first = read.book.entries[0]
    assert (first.name, first.content, first.insertion_order, first.priority) == ("Ash", "an ash", 3, 9)
    assert (first.extensions["agnai"], read.book.extensions["agnai"]) == ({"x": 1}, {"kind": "memory", "_id": "x"})
    assert tell(AGNAI, "ash elm") == ["Ash"]
    assert tell(AGNAI, "ashes") == []


def test_novelai_is_read() -> None:
    read = build_lorebook_file(NOVELAI)
    assert read.format is LorebookFormat.NOVELAI
    assert [one.enabled for one in read.book.entries] == [True, True, False]
    assert (read.book.entries[0].insertion_order, read.book.entries[2].constant) == (400, True)
    assert read.book.entries[0].extensions["novelai"]["searchRange"] == 1000
    assert len(read.warnings) == 1
    assert sorted(tell(NOVELAI, "Ash")) == ["Ash", "Elm"]


def test_risu_is_read() -> None:
    read = build_lorebook_file(RISU)
    assert read.format is LorebookFormat.RISU
    first = read.book.entries[0]
    assert (first.keys, first.secondary_keys, first.insertion_order) == (["ash", "elm"], ["old"], 7)
    assert first.extensions["risuai"] == {"mode": "normal"}
    assert tell(RISU, "old ash") == ["Ash", "Oak"]
    assert tell(RISU, "old ASH") == ["Oak"]
    assert tell(RISU, "yyew") == ["Yew", "Oak"]
    assert any("folder" in one for one in read.warnings)


@pytest.mark.parametrize("value", [AGNAI, NOVELAI, RISU], ids=["agnai", "novelai", "risu"])
def test_others_books_survive_v3_and_sillytavern(value: Fields) -> None:
    book = build_lorebook_file(value).book
    for written in (write_v3(book), write_sillytavern(book)):
        back = build_lorebook_file(through_json(written)).book
        assert survives(book.model_dump(exclude_unset=True), back.model_dump())
        assert rules(back) == rules(book)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"entries": []}, LorebookFormat.CHARACTER_BOOK),
        ({"entries": [{"keys": ["a"], "content": "b"}]}, LorebookFormat.CHARACTER_BOOK),
        ({"entries": {"1": {"keys": ["a"], "content": "b"}}}, LorebookFormat.CHARACTER_BOOK),
        ({"entries": {}}, LorebookFormat.SILLYTAVERN),
        (world(), LorebookFormat.SILLYTAVERN),
        ({"entries": [world()["entries"]["0"]]}, LorebookFormat.SILLYTAVERN),
        ({"spec": "lorebook_v3", "data": {"entries": []}}, LorebookFormat.V3),
    ],
)
def test_format_is_told_by_content(value: Fields, kind: LorebookFormat) -> None:
    assert build_lorebook_file(value).format is kind


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "JSON object"),
        ([], "JSON object"),
        ({}, "found nothing"),
        ({"a": 1}, "found `a`"),
        ({"spec": "chara_card_v2", "data": {}}, "a character's card"),
        ({"spec": "lorebook_v3"}, "lorebook"),
        ({"spec": "lorebook_v3", "data": []}, "lorebook"),
        ({"type": "risu", "data": 3}, "lorebook"),
        ({"kind": "memory"}, "lorebook"),
        ({"lorebookVersion": 1, "entries": "x"}, "lorebook"),
        ({"entries": 3}, "list"),
    ],
)
def test_error_says_what_it_is(value: Any, said: str) -> None:
    with pytest.raises(LorebookError, match=said):
        build_lorebook_file(value)


@given(json_values, st.sampled_from([{}, {"type": "risu"}, {"kind": "memory"}, {"lorebookVersion": 1}]))
def test_anything_is_a_book_or_a_clear_error(value: Any, kind: Fields) -> None:
    for whole in ({"entries": value, "data": value}, {"entries": [value], "data": [value]}, {"entries": {"a": value}}):
        for fields in (kind | whole, value if isinstance(value, dict) else {}):
            try:
                book = build_lorebook_file(fields).book
            except LorebookError:
                continue
            build_rulebook(book)
            assert build_lorebook_file(through_json(write_sillytavern(book))).book.entries is not None


def test_file_is_read() -> None:
    read = read_lorebook(b"\xef\xbb\xbf" + json.dumps(world()).encode())
    assert names(run([one.model_dump() for one in read.book.entries], "ash")) == ["ash"]


@pytest.mark.parametrize("blob", [b"", b"{", b"[" * 5000, b'{"entries": [], "entries": []}', b"\xff\xfe", b"PK\3\4"])
def test_file_that_is_broken_is_a_clear_error(blob: bytes) -> None:
    with pytest.raises(CardError):
        read_lorebook(blob)


def test_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(CardError, match="at most"):
        read_lorebook(b'{"entries": []' + b" " * (5 << 20) + b"}")


def test_novelais_png_is_read() -> None:
    *chunks, end = parse_chunks(draw_default("Woods"))[0]
    held = text_chunk("naidata", base64.b64encode(json.dumps(NOVELAI).encode()))
    assert read_lorebook(build_png([*chunks, held, end])).format is LorebookFormat.NOVELAI
    with pytest.raises(LorebookError, match="naidata"):
        read_lorebook(build_png([*chunks, end]))
