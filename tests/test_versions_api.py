"""A character's versions over HTTP: listed, read, restored."""

from typing import Any

import httpx
import pytest

from tests.cards import PORTRAIT
from tests.live import Live
from tests.uploads import bring, illustrated

ODO = "/characters/odo"


async def call(live: Live, method: str, path: str = "", **options: Any) -> httpx.Response:
    answer = await live.client.request(method, f"{ODO}{path}", **options)
    return answer.raise_for_status()


@pytest.fixture
async def changed(live: Live) -> list[dict[str, Any]]:
    """Odo as he was in each of four versions."""
    answers = [await live.client.post("/characters", json={"id": "odo", "name": "Odo", "description": "1"})]
    answers += [await call(live, "PATCH", json={"description": str(number)}) for number in (2, 3)]
    answers.append(await call(live, "PUT", json={"name": "Odo the fourth"}))
    return [answer.json() for answer in answers]


@pytest.mark.anyio
async def test_every_version_is_listed_and_read(live: Live, changed: list[dict[str, Any]]) -> None:
    listed = (await call(live, "GET", "/versions")).json()
    assert [(one["version"], one["name"]) for one in listed["versions"]] == [
        (4, "Odo the fourth"),
        (3, "Odo"),
        (2, "Odo"),
        (1, "Odo"),
    ]
    assert listed["next_cursor"] is None
    for shown in changed:
        answer = await call(live, "GET", f"/versions/{shown['version']}")
        assert answer.json() == shown
        seen = {"if-none-match": answer.headers["etag"]}
        assert (await live.client.get(f"{ODO}/versions/{shown['version']}", headers=seen)).status_code == 304


@pytest.mark.anyio
async def test_versions_are_paged(live: Live, changed: list[dict[str, Any]]) -> None:
    pages: list[list[int]] = []
    cursor: int | None = None
    while not pages or cursor is not None:
        query = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        page = (await call(live, "GET", "/versions", params=query)).json()
        pages.append([one["version"] for one in page["versions"]])
        cursor = page["next_cursor"]
    assert pages == [[4, 3, 2], [1]]


@pytest.mark.anyio
async def test_restored_version_is_a_new_one(live: Live, changed: list[dict[str, Any]]) -> None:
    before = (await call(live, "GET")).headers["etag"]
    restored = await call(live, "POST", "/versions/2/restore", headers={"if-match": before})
    assert restored.json() == changed[1] | {"version": 5}
    now = await call(live, "GET")
    assert (now.json(), now.headers["etag"]) == (restored.json(), restored.headers["etag"])
    assert (await call(live, "GET", "/versions/4")).json() == changed[3]
    stale = await live.client.post(f"{ODO}/versions/2/restore", headers={"if-match": before})
    assert stale.status_code == 412


@pytest.mark.anyio
async def test_restored_version_has_its_pictures_and_warnings(live: Live) -> None:
    path = await bring(live, illustrated(tags="a, b"))
    first = (await live.client.get(path)).json()
    assert first["warnings"]
    await live.client.put(path, json={"name": "Ida", "assets": []})
    assert (await live.client.get(f"{path}/avatar")).status_code == 404
    restored = (await live.client.post(f"{path}/versions/1/restore")).json()
    assert restored == first | {"version": restored["version"]}
    assert (await live.client.get(f"{path}/avatar")).content == PORTRAIT


@pytest.mark.anyio
@pytest.mark.parametrize("version", ["5", "0", "-1", "x", str(2**70)])
async def test_version_that_was_never_is_refused(live: Live, changed: list[dict[str, Any]], version: str) -> None:
    for answer in (
        await live.client.get(f"{ODO}/versions/{version}"),
        await live.client.post(f"{ODO}/versions/{version}/restore"),
    ):
        assert answer.status_code == (404 if version == "5" else 400)
    assert (await live.client.get("/characters/nobody/versions")).status_code == 404


@pytest.mark.anyio
async def test_deleted_character_has_no_versions(live: Live, changed: list[dict[str, Any]]) -> None:
    await call(live, "DELETE")
    await live.client.post("/characters", json={"id": "odo", "name": "Another"})
    assert [one["version"] for one in (await call(live, "GET", "/versions")).json()["versions"]] == [1]
    assert (await live.client.get(f"{ODO}/versions/2")).status_code == 404
