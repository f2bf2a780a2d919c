"""Lorebooks over HTTP: registered from any kind of file, refused, and listed."""

import json
from typing import Any

import pytest

from characters.formats.limits import MAX_TEXT_CHARS
from tests.cards import png
from tests.live import Live
from tests.lore import entry, world
from tests.lorebooks import HARBOUR, NOVELAI, PICTURE, V3, call, create, refuse

AGNAI = {"kind": "memory", "name": "Ships", "entries": [{"keywords": ["brig"], "entry": "Two masts.", "enabled": True}]}
RISU = {"type": "risu", "ver": 1, "data": [{"key": "brig, sloop", "content": "Masts.", "insertorder": 100}]}


@pytest.fixture
def live(emptied: Live) -> Live:
    return emptied


# Registering


@pytest.mark.anyio
async def test_book_is_registered_whole(live: Live) -> None:
    answer = await call(live, "POST", "", json=V3)
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == "/lorebooks/the-harbour"
    assert made == {"id": "the-harbour", "spec": "lorebook_v3", "data": made["data"], "version": 1, "warnings": []}
    assert made["data"].items() >= {**HARBOUR, "entries": made["data"]["entries"]}.items()
    assert made["data"]["entries"][0].items() >= HARBOUR["entries"][0].items()
    read = await call(live, "GET", "/the-harbour")
    assert (read.json(), read.headers["etag"]) == (made, answer.headers["etag"])


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("book", "book_id", "keys"),
    [
        (V3, "the-harbour", ["pier", "quay"]),
        (HARBOUR, "the-harbour", ["pier", "quay"]),
        (world(), "lorebook", ["ash"]),
        ({**world(), "name": "World"}, "world", ["ash"]),
        (AGNAI, "ships", ["brig"]),
        (NOVELAI, "lorebook", ["pier"]),
        (RISU, "lorebook", ["brig", "sloop"]),
        ({**V3, "name": "Another"}, "another", ["pier", "quay"]),
        ({**world(), "id": "chosen", "name": "World"}, "chosen", ["ash"]),
    ],
    ids=["V3", "character_book", "world info", "named", "Agnai", "NovelAI", "RisuAI", "renamed", "chosen id"],
)
async def test_book_of_any_kind_is_registered(live: Live, book: Any, book_id: str, keys: list[str]) -> None:
    made = await create(live, book)
    assert (made["id"], made["data"]["entries"][0]["keys"]) == (book_id, keys)
    assert made["data"].get("name") in (book.get("name"), HARBOUR["name"])
    assert "id" not in made["data"]


@pytest.mark.anyio
async def test_picture_with_a_book_is_registered(live: Live) -> None:
    headers = {"content-type": "image/png"}
    made = (await call(live, "POST", "", content=PICTURE, headers=headers, params={"name": "Piers", "id": "p"})).json()
    assert (made["id"], made["data"]["name"]) == ("p", "Piers")
    assert made["data"]["entries"][0]["content"] == "The pier is rotten."


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fields", "book_id", "name"),
    [({}, "world-3-old", "World 3 (old)"), ({"name": "World"}, "world", "World"), ({"id": "w"}, "w", "World 3 (old)")],
)
async def test_file_in_a_form_is_called_as_on_its_disk(
    live: Live, fields: dict[str, str], book_id: str, name: str
) -> None:
    files = {"file": ("C:\\worlds/World 3 (old).json", json.dumps(world()))}
    made = (await call(live, "POST", "", files=files, data=fields)).json()
    assert (made["id"], made["data"]["name"]) == (book_id, name)


@pytest.mark.anyio
async def test_form_without_a_file_is_refused(live: Live) -> None:
    assert (await refuse(live, 400, files={"book": ("a.json", "{}")}))["param"] == "file"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    await refuse(live, 400, content=b"--x\r\nno form", headers=headers)


@pytest.mark.anyio
async def test_names_that_collide_get_numbers(live: Live) -> None:
    assert [(await create(live))["id"] for _ in range(3)] == ["the-harbour", "the-harbour-2", "the-harbour-3"]
    assert (await refuse(live, 409, json=HARBOUR | {"id": "the-harbour"}))["code"] == "id_taken"


@pytest.mark.anyio
@pytest.mark.parametrize("book_id", ["", "Upper", "a b", "../x", 7, {}, "x" * 49])
async def test_id_that_is_no_slug_is_refused(live: Live, book_id: Any) -> None:
    assert (await refuse(live, 400, json=HARBOUR | {"id": book_id}))["code"] == "invalid_id"


@pytest.mark.anyio
async def test_warnings_hold_what_was_changed_and_what_cant_be_done(live: Live) -> None:
    odd = entry("/(?=ash)/", enabled="true", extensions={"vectorized": True})
    made = await create(live, {"entries": [odd]})
    assert len(made["warnings"]) == 3
    for told in ("`enabled` was a text", "can't be searched for", "by meaning"):
        assert any(told in warning for warning in made["warnings"])
    assert (await call(live, "GET", "/lorebook")).json()["warnings"] == made["warnings"]


@pytest.mark.anyio
async def test_warnings_are_as_many_as_anybody_reads(live: Live) -> None:
    made = await create(live, {"entries": [entry(f"/(?={number})/") for number in range(80)]})
    assert (len(made["warnings"]), made["warnings"][-1]) == (51, "and 30 more")


# What is refused


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        (b"", "invalid_json", "JSON"),
        (b"{", "invalid_json", "JSON"),
        (b"null", "invalid_lorebook", "NoneType"),
        (b"[]", "invalid_lorebook", "list"),
        (b"{}", "invalid_lorebook", "expected `entries`"),
        (b'{"entries": 3}', "invalid_lorebook", "int"),
        (b'{"entries": [], "entries": []}', "duplicate_key", "twice"),
        (b'{"entries": [NaN]}', "invalid_number", "NaN"),
        (b'{"spec": "chara_card_v3", "data": {}}', "invalid_lorebook", "character's card"),
        (b'{"entries": [], "x": ' + b"[" * 80 + b"]" * 80 + b"}", "too_deep", "64 levels"),
        (b'{"entries": [], "x": ' + b"[" * 64 + b"]" * 64 + b"}", "too_deep", "64 levels"),
        (b"[" * 100_000, "too_deep", "64 levels"),
        (b'{"entries": [], "x": "\\u0000"}', "invalid_text", "NUL"),
        (b'{"entries": [{"keys": ["a"], "content": "' + b"a" * (MAX_TEXT_CHARS + 1) + b'"}]}', "field_too_large", "0"),
        (b'{"entries": [' + b"{}," * 10_000 + b"{}]}", "too_many_entries", "10,001 entries"),
        (b'{"entries": [], "x": [' + b"0," * 1_000_000 + b"0]}", "document_too_large", "values"),
        (b"\xff\xd8\xff\xe0 a JPEG", "not_utf8", "UTF-8"),
        (png(), "invalid_lorebook", "naidata"),
        (PICTURE[:-30], "truncated_png", "PNG"),
    ],
    ids=range(19),
)
async def test_what_is_no_book_is_refused(live: Live, body: bytes, code: str, told: str) -> None:
    error = await refuse(live, 400, content=body)
    assert (error["code"], told in error["message"]) == (code, True)


@pytest.mark.anyio
async def test_what_only_looks_like_nul_is_kept(live: Live) -> None:
    made = await create(live, {"entries": [entry("a", content="\\u0000 \\\\u0000")]})
    assert made["data"]["entries"][0]["content"] == "\\u0000 \\\\u0000"


@pytest.mark.anyio
async def test_big_book_is_refused(live: Live) -> None:
    assert (await refuse(live, 413, content=b" " * (5 << 20)))["code"] == "body_too_large"


@pytest.mark.anyio
async def test_large_book_is_read_in_no_thread_of_the_server(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("a large book was read beside the event loop")

    large = HARBOUR | {"entries": [entry("pier", content="The pier is rotten. " * 1000, id=n) for n in range(20)]}
    broken = {"entries": [entry("pier", content="a" * (MAX_TEXT_CHARS + 1))]}
    with monkeypatch.context() as patch:
        patch.setattr(live.app.state.lorebooks, "beside", fail)
        made = await create(live, large)
        error = await refuse(live, 400, json=broken)
        put = await call(live, "PUT", "/the-harbour", json=large | {"scan_depth": 4})
        await call(live, "PATCH", "/the-harbour", json={"scan_depth": 5})
        assert (await refuse(live, 400, "PATCH", "/the-harbour", json={"data": []}))["message"]
    assert error["code"] == "field_too_large"
    assert (made["id"], put.json()["version"]) == ("the-harbour", 2)
    read = (await call(live, "GET", "/the-harbour")).json()
    assert (read["data"]["scan_depth"], read["data"]["entries"]) == (5, made["data"]["entries"])


@pytest.mark.anyio
async def test_long_name_is_refused(live: Live) -> None:
    assert (await refuse(live, 400, json=HARBOUR, params={"name": "a" * 201}))["param"] == "name"


# Listing


@pytest.mark.anyio
async def test_list_pages_through_summaries(live: Live) -> None:
    for number in range(5):
        await create(live, HARBOUR | {"id": f"book-{number}"})
    first = (await call(live, "GET", "", params={"limit": 3})).json()
    second = (await call(live, "GET", "", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [book["id"] for page in (first, second) for book in page["lorebooks"]] == [f"book-{n}" for n in range(5)]
    assert second["next_cursor"] is None
    (summary, *_) = first["lorebooks"]
    assert summary.pop("updated") > 1_600_000_000
    assert summary == {"id": "book-0", "name": "The harbour", "entries": 1, "version": 1}


@pytest.mark.anyio
async def test_list_is_searched_by_name(live: Live) -> None:
    await create(live)
    await create(live, world(), name="Forest")
    found = (await call(live, "GET", "", params={"q": "fOREst"})).json()["lorebooks"]
    assert [book["id"] for book in found] == ["forest"]
    await call(live, "PATCH", "/forest", json={"name": "Wood"})
    assert (await call(live, "GET", "", params={"q": "wood"})).json()["lorebooks"][0]["version"] == 2
