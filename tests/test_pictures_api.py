"""Avatars and expressions over HTTP: checked by what they are, served as that alone, kept with each version."""

import asyncio
from typing import Any

import httpx
import pytest

from characters.formats.reading import read_card
from tests.cards import ICON, PORTRAIT, charx, v2, v3
from tests.live import Live
from tests.uploads import JOY, SMILE, asset, bring, draw, illustrated

PAGE = b"<!DOCTYPE html><script>alert(1)</script>"
KINDS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}


@pytest.fixture
async def odo(live: Live) -> str:
    """The path of a character without pictures."""
    await live.client.post("/characters", json={"id": "odo", "name": "Odo"})
    return "/characters/odo"


async def put(live: Live, path: str, blob: bytes, **options: Any) -> httpx.Response:
    return await live.client.put(path, content=blob, **options)


async def refusal(live: Live, path: str, blob: bytes) -> str:
    answer = await put(live, path, blob)
    assert answer.status_code == 400, answer.text
    code: str = answer.json()["error"]["code"]
    return code


async def version(live: Live, path: str) -> int:
    shown: int = (await live.client.get(path)).json()["version"]
    return shown


@pytest.mark.anyio
async def test_avatar_of_every_kind_comes_back_as_it_was_sent(live: Live, odo: str) -> None:
    for number, (kind, media_type) in enumerate(KINDS.items(), 2):
        blob = draw(kind)
        told = await put(live, f"{odo}/avatar", blob)
        assert told.json() == {
            "media_type": media_type,
            "width": 8,
            "height": 6,
            "bytes": len(blob),
            "version": number,
        }
        shown = await live.client.get(f"{odo}/avatar")
        assert (shown.content, shown.headers["content-type"]) == (blob, media_type)
        assert shown.headers["etag"] == told.headers["etag"]
        [icon] = (await live.client.get(odo)).json()["data"]["assets"]
        assert (icon["type"], icon["name"]) == ("icon", "main")


@pytest.mark.anyio
async def test_picture_is_served_as_a_picture_alone(live: Live, odo: str) -> None:
    await live.client.put(f"{odo}/avatar", files={"file": ("page.html", PORTRAIT, "text/html")})
    headers = (await live.client.get(f"{odo}/avatar")).headers
    assert headers["content-type"] == "image/png"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'"
    assert headers["cache-control"] == "private, no-cache"


@pytest.mark.anyio
async def test_unchanged_picture_is_not_sent_again(live: Live, odo: str) -> None:
    tag = (await put(live, f"{odo}/avatar", PORTRAIT)).headers["etag"]
    for condition in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        answer = await live.client.get(f"{odo}/avatar", headers={"if-none-match": condition})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    await put(live, f"{odo}/avatar", SMILE)
    assert (await live.client.get(f"{odo}/avatar", headers={"if-none-match": tag})).content == SMILE


@pytest.mark.anyio
async def test_what_is_no_picture_is_refused(live: Live, odo: str) -> None:
    huge = draw("PNG", (8000, 5001))
    for blob in (
        PAGE,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"",
        b"GIF89a",
        PORTRAIT[:-200],
        b"\x89PNG\r\n\x1a\n",
    ):
        assert await refusal(live, f"{odo}/avatar", blob) == "not_a_picture"
    assert await refusal(live, f"{odo}/avatar", huge) == "picture_too_large"
    large = await put(live, f"{odo}/avatar", bytes(17 << 20))
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")
    both = await live.client.put(f"{odo}/avatar", files=[("file", ("a", PORTRAIT)), ("file", ("b", PORTRAIT))])
    assert (both.status_code, both.json()["error"]["code"]) == (400, "too_many_files")
    assert (await live.client.get(f"{odo}/avatar")).status_code == 404
    assert await version(live, odo) == 1


@pytest.mark.anyio
async def test_page_in_a_card_is_never_served(live: Live) -> None:
    assets = [asset("icon", ICON, "main"), asset("emotion", "assets/emotion/other/joy.html", "joy")]
    path = await bring(live, charx(v3(assets=assets), {ICON: PAGE, "assets/emotion/other/joy.html": PAGE}))
    for picture in ("avatar", "expressions/joy"):
        answer = await live.client.get(f"{path}/{picture}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "picture_not_found")


@pytest.mark.anyio
async def test_deleted_avatar_is_gone_and_its_version_keeps_it(live: Live) -> None:
    other = "assets/icon/images/other.png"
    assets = [asset("icon", ICON, "main"), asset("icon", other, "other")]
    path = await bring(live, charx(v3(assets=assets), {ICON: PORTRAIT, other: draw("PNG")}))
    assert (await live.client.delete(f"{path}/avatar")).status_code == 204
    assert (await live.client.get(f"{path}/avatar")).status_code == 404
    assert (await live.client.delete(f"{path}/avatar")).status_code == 404
    assert (await live.client.get(f"{path}/avatar", params={"version": 1})).content == PORTRAIT
    await put(live, f"{path}/avatar", SMILE)
    assert (await live.client.get(f"{path}/avatar")).content == SMILE
    assert await version(live, path) == 3


@pytest.mark.anyio
async def test_expressions_are_listed_replaced_and_taken_away(live: Live) -> None:
    path = await bring(live, illustrated())

    async def names() -> list[str]:
        listed = (await live.client.get(f"{path}/expressions")).json()["expressions"]
        assert all([(await live.client.get(one["url"])).status_code == 200 for one in listed])
        return [one["name"] for one in listed]

    assert await names() == ["joy"]
    for name in ("rage", "öde Wut?", "joy"):
        assert (await put(live, f"{path}/expressions/{name.replace('?', '%3F')}", draw("PNG"))).status_code == 200
    assert await names() == ["joy", "rage", "öde Wut?"]
    shown = await live.client.get(f"{path}/expressions/joy")
    assert (shown.content, shown.headers["content-type"]) == (draw("PNG"), "image/png")
    assert (await live.client.get(f"{path}/expressions/joy", params={"version": 1})).content == SMILE
    assert (await live.client.delete(f"{path}/expressions/joy")).status_code == 204
    assert await names() == ["rage", "öde Wut?"]
    assert (await live.client.get(f"{path}/expressions/joy")).status_code == 404
    assert (await live.client.get(f"{path}/avatar")).content == PORTRAIT
    assert await version(live, path) == 5


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["", " joy", "a/b", "a%00b", "x" * 65])
async def test_name_that_no_expression_has_is_refused(live: Live, odo: str, name: str) -> None:
    answer = await put(live, f"{odo}/expressions/{name}", PORTRAIT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_name")


@pytest.mark.anyio
async def test_expressions_of_one_letter_each_keep_their_own_pictures(live: Live, odo: str) -> None:
    """Their names make the same file's path."""
    pictures = {
        name: draw("PNG", colour=colour) for name, colour in zip("ルナ月", ("red", "blue", "green"), strict=True)
    }
    for name, picture in pictures.items():
        await put(live, f"{odo}/expressions/{name}", picture)
    for name, picture in pictures.items():
        assert (await live.client.get(f"{odo}/expressions/{name}")).content == picture


@pytest.mark.anyio
async def test_picture_changes_only_what_the_client_has_seen(live: Live, odo: str) -> None:
    first = (await live.client.get(odo)).headers["etag"]
    changed = await put(live, f"{odo}/avatar", PORTRAIT, headers={"if-match": first})
    assert changed.status_code == 200
    assert (await put(live, f"{odo}/avatar", SMILE, headers={"if-match": first})).status_code == 412
    assert (await live.client.delete(f"{odo}/avatar", headers={"if-match": first})).status_code == 412
    seen = {"if-match": changed.headers["etag"]}
    assert (await live.client.delete(f"{odo}/avatar", headers=seen)).status_code == 204


@pytest.mark.anyio
async def test_pictures_outlive_a_card_that_names_none(live: Live) -> None:
    path = await bring(live, illustrated())
    assert (await live.client.put(path, json=v2(name="Ida again"))).status_code == 200
    assert (await live.client.get(f"{path}/avatar")).content == PORTRAIT
    assert (await live.client.get(f"{path}/expressions/joy")).content == SMILE
    await live.client.patch(path, json={"assets": []})
    for picture in ("avatar", "expressions/joy"):
        assert (await live.client.get(f"{path}/{picture}")).status_code == 404


@pytest.mark.anyio
@pytest.mark.parametrize("assets", [[], [asset("emotion", JOY, "joy")]], ids=["none", "an expression"])
async def test_card_with_other_assets_drops_the_files_of_those_before(live: Live, assets: list[dict[str, str]]) -> None:
    path = await bring(live, illustrated())
    assert (await live.client.put(path, json=v3(assets=assets))).status_code == 200
    assert (await live.client.get(f"{path}/avatar")).status_code == 404
    exported = (await live.client.get(f"{path}/export", params={"format": "charx"})).content
    # What no asset ever named stays.
    assert read_card(exported).files.keys() == {*[JOY for _ in assets], "module.risum"}
    assert (await live.client.get(f"{path}/avatar", params={"version": 1})).content == PORTRAIT


@pytest.mark.anyio
async def test_pictures_that_are_sent_at_once_are_all_kept(live: Live, odo: str) -> None:
    names = [f"mood {number}" for number in range(12)]
    answers = await asyncio.gather(*(put(live, f"{odo}/expressions/{name}", SMILE) for name in names))
    assert [answer.status_code for answer in answers] == [200] * 12
    listed = (await live.client.get(f"{odo}/expressions")).json()["expressions"]
    assert {one["name"] for one in listed} == set(names)
    assert await version(live, odo) == 13


@pytest.mark.anyio
async def test_pictures_of_nobody_are_not_found(live: Live) -> None:
    for method, path in (("GET", "avatar"), ("PUT", "avatar"), ("DELETE", "expressions/joy"), ("GET", "expressions")):
        answer = await live.client.request(method, f"/characters/nobody/{path}", content=PORTRAIT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "character_not_found")
    assert (await live.client.get("/characters/lyra/avatar")).json()["error"]["code"] == "picture_not_found"
    assert (await live.client.get("/characters/lyra/avatar", params={"version": 7})).status_code == 404


@pytest.mark.anyio
async def test_deleted_character_leaves_no_pictures(live: Live) -> None:
    path = await bring(live, illustrated())
    assert (await live.client.delete(path)).status_code == 204
    assert await live.app.state.redis.keys("*files*") == []
    assert (await live.client.post("/characters", json=v2())).status_code == 201
    assert (await live.client.get(f"{path}/avatar")).status_code == 404
