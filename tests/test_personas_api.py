"""Personas over HTTP: who users play, registered, found, changed, with the lorebooks that belong to them."""

from typing import Any

import httpx
import pytest

from tests.live import Live
from tests.lore import entry

SAM = {"name": "Sam", "persona": "A sailor who can't swim."}


@pytest.fixture
def live(emptied: Live) -> Live:
    return emptied


async def call(live: Live, method: str, path: str = "/sam", **fields: Any) -> httpx.Response:
    answer = await live.client.request(method, f"/personas{path}", **fields)
    return answer.raise_for_status()


async def create(live: Live, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = (await call(live, "POST", "", json=SAM | fields)).json()
    return made


async def create_book(live: Live, name: str) -> str:
    answer = await live.client.post("/lorebooks", json={"name": name, "entries": [entry("ash")]})
    book_id: str = answer.raise_for_status().json()["id"]
    return book_id


async def refuse(live: Live, status: int, method: str, path: str = "/sam", **fields: Any) -> dict[str, Any]:
    answer = await live.client.request(method, f"/personas{path}", **fields)
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


@pytest.mark.anyio
async def test_persona_is_registered(live: Live) -> None:
    book = await create_book(live, "Ships")
    answer = await call(live, "POST", "", json=SAM | {"lorebook_ids": [book, book]})
    made = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, "/personas/sam")
    assert made.pop("updated") > 1_600_000_000
    assert made == SAM | {"id": "sam", "icon": "", "lorebook_ids": ["ships"], "version": 1}
    read = await call(live, "GET")
    assert (read.json() | made, read.headers["etag"]) == (read.json(), answer.headers["etag"])


@pytest.mark.anyio
async def test_ids_are_chosen_or_made(live: Live) -> None:
    assert [(await create(live))["id"] for _ in range(2)] == ["sam", "sam-2"]
    assert (await create(live, id="captain"))["id"] == "captain"
    assert (await create(live, name="ルナ"))["id"] == "persona"
    assert (await refuse(live, 409, "POST", "", json=SAM | {"id": "sam"}))["code"] == "id_taken"
    assert (await refuse(live, 400, "POST", "", json=SAM | {"id": "A b"}))["code"] == "invalid_id"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": None}, "name"),
        ({"name": "a" * 101}, "name"),
        ({"name": 7}, "name"),
        ({"persona": "a" * 8001}, "persona"),
        ({"persona": ["a"]}, "persona"),
        ({"lorebook_ids": "ships"}, "lorebook_ids"),
        ({"lorebook_ids": [7]}, "lorebook_ids.0"),
        ({"lorebook_ids": ["nowhere"]}, "lorebook_ids"),
        ({"lorebook_ids": ["a"] * 33}, "lorebook_ids"),
        ({"id": 7}, "id"),
    ],
    ids=str,
)
async def test_wrong_field_is_named(live: Live, fields: dict[str, Any], param: str) -> None:
    assert (await refuse(live, 400, "POST", "", json=SAM | fields))["param"] == param
    if "id" not in fields:
        await create(live)
        for method in ("PUT", "PATCH"):
            assert (await refuse(live, 400, method, json=SAM | fields))["param"] == param
    assert all(one["version"] == 1 for one in (await call(live, "GET", "")).json()["personas"])


@pytest.mark.anyio
async def test_list_is_paged_and_searched(live: Live) -> None:
    for name in ("Ann", "Ben", "Cat"):
        await create(live, name=name)
    first = (await call(live, "GET", "", params={"limit": 2})).json()
    assert [one["name"] for one in first["personas"]] == ["Ann", "Ben"]
    second = (await call(live, "GET", "", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert ([one["name"] for one in second["personas"]], second["next_cursor"]) == (["Cat"], None)
    assert [one["id"] for one in (await call(live, "GET", "", params={"q": "BE"})).json()["personas"]] == ["ben"]


@pytest.mark.anyio
async def test_put_replaces_and_patch_merges(live: Live) -> None:
    made = await create(live, lorebook_ids=[await create_book(live, "Ships")])
    changed = (await call(live, "PATCH", json={"name": "Samuel", "id": "x", "version": 9})).json()
    assert changed == made | {"name": "Samuel", "version": 2, "updated": changed["updated"]}
    emptied = (await call(live, "PATCH", json={"persona": None, "lorebook_ids": None})).json()
    assert (emptied["persona"], emptied["lorebook_ids"]) == ("", [])
    replaced = (await call(live, "PUT", json={"name": "Sam"})).json()
    assert (replaced["name"], replaced["persona"], replaced["version"]) == ("Sam", "", 4)


@pytest.mark.anyio
async def test_what_was_read_can_be_put_back(live: Live) -> None:
    made = await create(live)
    again = (await call(live, "PUT", json=made)).json()
    assert again == made | {"version": 2, "updated": again["updated"]}


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_etag_admits_one_of_two_writers(live: Live, method: str) -> None:
    await create(live)
    headers = {"If-Match": (await call(live, "GET")).headers["etag"]}
    answer = await call(live, "PATCH", json={}, headers=headers)
    assert (await refuse(live, 412, method, json=SAM, headers=headers))["code"] == "etag_mismatch"
    await call(live, method, json=SAM, headers={"If-Match": answer.headers["etag"]})


@pytest.mark.anyio
async def test_unchanged_persona_is_not_sent_again(live: Live) -> None:
    await create(live)
    tag = (await call(live, "GET")).headers["etag"]
    answer = await live.client.get("/personas/sam", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.anyio
async def test_lorebook_that_has_gone_is_no_reason_to_refuse_a_change(live: Live) -> None:
    await create(live, lorebook_ids=[await create_book(live, "Ships")])
    (await live.client.delete("/lorebooks/ships")).raise_for_status()
    changed = (await call(live, "PATCH", json={"name": "Samuel"})).json()
    assert changed["lorebook_ids"] == ["ships"]
    assert (await refuse(live, 400, "PATCH", json={"lorebook_ids": ["ships", "others"]}))["param"] == "lorebook_ids"


@pytest.mark.anyio
async def test_every_version_can_be_read_and_restored(live: Live) -> None:
    made = await create(live)
    await call(live, "PATCH", json={"name": "Samuel"})
    assert (await call(live, "GET", "/sam/versions/1")).json() == made
    page = (await call(live, "GET", "/sam/versions", params={"limit": 1})).json()
    assert ([one["name"] for one in page["versions"]], page["next_cursor"]) == (["Samuel"], 2)
    page = (await call(live, "GET", "/sam/versions", params={"limit": 1, "cursor": 2})).json()
    assert (page["versions"], page["next_cursor"]) == ([made], None)
    restored = (await call(live, "POST", "/sam/versions/1/restore")).json()
    assert (restored["name"], restored["version"]) == ("Sam", 3)
    assert (await refuse(live, 404, "GET", "/sam/versions/7"))["code"] == "version_not_found"


@pytest.mark.anyio
async def test_deleted_persona_is_gone(live: Live) -> None:
    await create(live)
    assert (await call(live, "DELETE")).status_code == 204
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        assert (await refuse(live, 404, method, json=SAM))["code"] == "persona_not_found"
