"""Lorebooks over HTTP that are there: read, changed, restored, and taken home again."""

import asyncio
from typing import Any

import pytest

from tests.live import Live
from tests.lore import entry, world
from tests.lorebooks import HARBOUR, PICTURE, V3, call, create, refuse


@pytest.fixture
def live(emptied: Live) -> Live:
    return emptied


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
