"""Lorebooks over HTTP: registered from any kind of file, listed, changed, and taken home again."""

import asyncio
import base64
import json
from typing import Any

import httpx
import pytest

from characters.formats.limits import MAX_TEXT_CHARS
from tests.cards import png, text
from tests.live import Live
from tests.lore import entry, world

HARBOUR: dict[str, Any] = {
    "name": "The harbour",
    "scan_depth": 3,
    "extensions": {"x": {"y": [1, None]}},
    "an_unknown_field": "kept",
    "entries": [entry("pier", "quay", content="The pier is rotten.", insertion_order=5, id=7)],
}
NOVELAI = {"lorebookVersion": 5, "entries": [{"keys": ["pier"], "text": "The pier is rotten.", "enabled": True}]}
AGNAI = {"kind": "memory", "name": "Ships", "entries": [{"keywords": ["brig"], "entry": "Two masts.", "enabled": True}]}
RISU = {"type": "risu", "ver": 1, "data": [{"key": "brig, sloop", "content": "Masts.", "insertorder": 100}]}
V3 = {"spec": "lorebook_v3", "data": HARBOUR}
PICTURE = png(text("naidata", base64.b64encode(json.dumps(NOVELAI).encode())))


@pytest.fixture
def live(emptied: Live) -> Live:
    return emptied


async def call(live: Live, method: str, path: str, **fields: Any) -> httpx.Response:
    answer = await live.client.request(method, f"/lorebooks{path}", **fields)
    return answer.raise_for_status()


async def create(live: Live, book: Any = HARBOUR, **query: str) -> dict[str, Any]:
    """Register `book`; what the server answered."""
    made: dict[str, Any] = (await call(live, "POST", "", json=book, params=query)).json()
    return made


async def refuse(live: Live, status: int, method: str = "POST", path: str = "", **fields: Any) -> dict[str, Any]:
    """What the server says of a request that it should refuse."""
    answer = await live.client.request(method, f"/lorebooks{path}", **fields)
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["message"]
    return error


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


# Reading and changing


@pytest.mark.anyio
async def test_unchanged_book_is_not_sent_again(live: Live) -> None:
    await create(live)
    tag = (await call(live, "GET", "/the-harbour")).headers["etag"]
    answer = await live.client.get("/lorebooks/the-harbour", headers={"If-None-Match": f'"other", {tag}'})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)


@pytest.mark.anyio
async def test_what_was_read_can_be_put_back(live: Live) -> None:
    deep: Any = "x"
    for _ in range(62):
        deep = [deep]
    made = await create(live, HARBOUR | {"deep": deep})
    changed = (await call(live, "PUT", "/the-harbour", json=made)).json()
    assert changed == made | {"version": 2}


@pytest.mark.anyio
async def test_patches_that_are_sent_at_once_are_all_kept(live: Live) -> None:
    await create(live)
    await asyncio.gather(*(call(live, "PATCH", "/the-harbour", json={f"x_{number}": number}) for number in range(8)))
    kept = (await call(live, "GET", "/the-harbour")).json()
    assert {f"x_{number}" for number in range(8)} < kept["data"].keys()
    assert kept["version"] == 9


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_etag_admits_one_of_two_writers(live: Live, method: str) -> None:
    await create(live)
    headers = {"If-Match": (await call(live, "GET", "/the-harbour")).headers["etag"]}
    answer = await call(live, "PATCH", "/the-harbour", json={"scan_depth": 9}, headers=headers)
    assert (await refuse(live, 412, method, "/the-harbour", json=HARBOUR, headers=headers))["code"] == "etag_mismatch"
    await call(live, method, "/the-harbour", json=HARBOUR, headers={"If-Match": answer.headers["etag"]})


@pytest.mark.anyio
async def test_put_takes_any_kind_and_keeps_the_name(live: Live) -> None:
    await create(live)
    changed = (await call(live, "PUT", "/the-harbour", json=world() | {"id": "another"})).json()
    assert (changed["id"], changed["version"]) == ("the-harbour", 2)
    assert (changed["data"]["name"], changed["data"]["entries"][0]["keys"]) == ("The harbour", ["ash"])
    pictured = await call(live, "PUT", "/the-harbour", content=PICTURE, headers={"content-type": "image/png"})
    assert pictured.json()["data"]["entries"][0]["keys"] == ["pier"]


@pytest.mark.anyio
async def test_patch_merges_into_the_data(live: Live) -> None:
    await create(live)
    patch: dict[str, Any] = {"scan_depth": None, "extensions": {"x": {"z": 2}}, "version": 9, "warnings": []}
    changed = (await call(live, "PATCH", "/the-harbour", json=patch)).json()
    assert "scan_depth" not in changed["data"]
    assert changed["data"]["extensions"] == {"x": {"y": [1, None], "z": 2}}
    assert "version" not in changed["data"]
    again = await call(live, "PATCH", "/the-harbour", json={"data": {"entries": [entry("elm", enabled="no")]}})
    assert again.json()["data"]["entries"][0]["keys"] == ["elm"]
    assert "`enabled` was a text" in again.json()["warnings"][0]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "patch", [[], {"entries": 7}, {"data": {"entries": 7}}, {"data": 7}, {"data": None}, {"entries": [{}] * 10_001}]
)
async def test_patch_that_breaks_the_book_is_refused(live: Live, patch: Any) -> None:
    await create(live)
    await refuse(live, 400, "PATCH", "/the-harbour", json=patch)
    assert (await call(live, "GET", "/the-harbour")).json()["version"] == 1


@pytest.mark.anyio
async def test_book_cant_grow_beyond_the_limit(live: Live) -> None:
    await create(live)
    filler = "a" * 3_000_000
    await call(live, "PATCH", "/the-harbour", json={"one": filler})
    assert (await refuse(live, 400, "PATCH", "/the-harbour", json={"other": filler}))["code"] == "document_too_large"


@pytest.mark.anyio
async def test_deleted_book_is_gone(live: Live) -> None:
    await create(live)
    await call(live, "DELETE", "/the-harbour")
    for method, path in [("GET", ""), ("DELETE", ""), ("GET", "/export"), ("GET", "/versions"), ("PUT", "")]:
        error = await refuse(live, 404, method, f"/the-harbour{path}", json=HARBOUR)
        assert error["code"] == "lorebook_not_found"
    assert (await call(live, "GET", "")).json()["lorebooks"] == []


# Versions


@pytest.mark.anyio
async def test_every_version_can_be_read_and_restored(live: Live) -> None:
    made = await create(live)
    await call(live, "PATCH", "/the-harbour", json={"name": "The port", "entries": []})
    assert (await call(live, "GET", "/the-harbour/versions/1")).json() == made
    page = (await call(live, "GET", "/the-harbour/versions")).json()
    assert [(one["version"], one["name"], one["entries"]) for one in page["versions"]] == [
        (2, "The port", 0),
        (1, "The harbour", 1),
    ]
    restored = await call(live, "POST", "/the-harbour/versions/1/restore")
    assert restored.json() == made | {"version": 3}
    assert restored.headers["etag"] == (await call(live, "GET", "/the-harbour")).headers["etag"]


@pytest.mark.anyio
async def test_versions_are_paged(live: Live) -> None:
    await create(live)
    for _ in range(4):
        await call(live, "PATCH", "/the-harbour", json={})
    seen: list[list[int]] = []
    cursor: int | None = 6
    while cursor is not None:
        page = (await call(live, "GET", "/the-harbour/versions", params={"limit": 2, "cursor": cursor})).json()
        seen.append([one["version"] for one in page["versions"]])
        cursor = page["next_cursor"]
    assert seen == [[5, 4], [3, 2], [1]]


@pytest.mark.anyio
async def test_version_that_never_was_is_an_error(live: Live) -> None:
    await create(live)
    tag = (await call(live, "GET", "/the-harbour")).headers["etag"]
    for method, path in [("GET", "/versions/2"), ("POST", "/versions/2/restore")]:
        assert (await refuse(live, 404, method, f"/the-harbour{path}"))["code"] == "version_not_found"
    await refuse(live, 400, "GET", "/the-harbour/versions/0")
    await call(live, "PATCH", "/the-harbour", json={})
    await refuse(live, 412, "POST", "/the-harbour/versions/1/restore", headers={"If-Match": tag})


# Going home


@pytest.mark.anyio
async def test_exported_book_is_the_one_that_came(live: Live) -> None:
    made = await create(live, V3)
    for query in ({}, {"format": "v3"}):
        answer = await call(live, "GET", "/the-harbour/export", params=query)
        names = "filename=\"the-harbour.json\"; filename*=UTF-8''The%20harbour.json"
        assert answer.headers["content-disposition"] == f"attachment; {names}"
        assert answer.json() == {"spec": "lorebook_v3", "data": made["data"]}


@pytest.mark.anyio
async def test_sillytaverns_book_goes_home_to_it(live: Live) -> None:
    came = world(key=["ash", "/elm/i"], sticky=3, probability=50, position=4, depth=2, order=7, vectorized=True)
    await create(live, came)
    answer = await call(live, "GET", "/lorebook/export", params={"format": "sillytavern"})
    assert answer.json()["entries"]["0"].items() >= came["entries"]["0"].items()
    assert "opencharacter_kept" not in answer.json()["entries"]["0"]
    again = await create(live, answer.json())
    assert again["data"] == (await call(live, "GET", "/lorebook")).json()["data"]


@pytest.mark.anyio
async def test_unknown_format_of_an_export_is_refused(live: Live) -> None:
    await create(live)
    assert (await refuse(live, 400, "GET", "/the-harbour/export", params={"format": "pdf"}))["param"] == "format"
