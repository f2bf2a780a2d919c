"""Characters as files over HTTP: in every format, of every version, with their pictures."""

import io
from typing import Any

import httpx
import pytest
from PIL import Image

from characters.formats.cardfile import CardFile
from characters.formats.reading import read_card
from characters.formats.writing import KINDS
from tests.cards import ICON, PORTRAIT, dumps, v2, v3, whole
from tests.live import Live
from tests.uploads import JOY, SMILE, bring, draw, illustrated


async def export(live: Live, path: str, **query: Any) -> httpx.Response:
    answer = await live.client.get(f"{path}/export", params=query)
    return answer.raise_for_status()


async def read(live: Live, path: str, form: str) -> CardFile:
    return read_card((await export(live, path, format=form)).content)


@pytest.mark.anyio
async def test_export_in_every_format_is_the_character_that_was_imported(live: Live) -> None:
    extensions = {"x_unknown": {"a": [1, None]}, "depth_prompt": {"prompt": "hum", "depth": 4, "role": "system"}}
    blob = illustrated(
        extensions=extensions, x_field="kept", character_book={"entries": [{"keys": ["a"], "content": "b"}]}
    )
    path = await bring(live, blob)
    before = read_card(blob)
    for form in KINDS:
        again = await read(live, path, form)
        assert (form, whole(again)) == (form, whole(before))
        kept = {"yaml": {}, "json-v2": {ICON, JOY}, "json-v3": {ICON, JOY}}.get(form, before.files.keys())
        assert {file: again.files[file] for file in kept} == {file: before.files[file] for file in kept}


@pytest.mark.anyio
async def test_export_comes_back_as_another_character_like_it(live: Live) -> None:
    path = await bring(live, illustrated(name="Odo"))
    first = (await live.client.get(path)).json()
    for form in ("png", "charx", "json-v3"):
        copy = await bring(live, (await export(live, path, format=form)).content)
        assert (await live.client.get(copy)).json() == first | {"id": copy.rpartition("/")[2]}
        assert (await live.client.get(f"{copy}/avatar")).content == PORTRAIT
        assert (await live.client.get(f"{copy}/expressions/joy")).content == SMILE


@pytest.mark.anyio
async def test_export_says_what_the_file_is_and_is_called(live: Live) -> None:
    made = await live.client.post("/characters", json={"id": "zoe", "name": 'Zoë "the/owl"'})
    for form, kind in KINDS.items():
        headers = (await export(live, "/characters/zoe", format=form)).headers
        assert headers["content-type"].partition(";")[0] == kind.media_type
        assert headers["content-disposition"] == (
            f"attachment; filename=\"zoe.{kind.suffix}\"; filename*=UTF-8''Zo%C3%AB%20_the_owl_.{kind.suffix}"
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["etag"] == f'{made.headers["etag"][:-1]}-{form}"'


@pytest.mark.anyio
async def test_unchanged_export_is_not_sent_again(live: Live) -> None:
    path = await bring(live, illustrated())
    tag = (await export(live, path, format="charx")).headers["etag"]

    async def ask(form: str) -> httpx.Response:
        return await live.client.get(
            f"{path}/export", params={"format": form}, headers={"if-none-match": f'"a", W/{tag}'}
        )

    unchanged = await ask("charx")
    assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", tag)
    assert (await ask("json-v2")).status_code == 200
    await live.client.patch(path, json={"description": "after"})
    assert (await ask("charx")).status_code == 200


@pytest.mark.anyio
async def test_json_with_files_goes_to_the_import_alone(live: Live) -> None:
    path = await bring(live, illustrated())
    card = (await export(live, path, format="json-v3")).json()
    for method, place in (("POST", "/characters"), ("PUT", path)):
        answer = await live.client.request(method, place, json=card)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "file_in_card")
        assert "/characters/import" in answer.json()["error"]["message"]
    odd = v3(assets=[{"type": "icon", "uri": "data:no comma", "name": "main", "ext": "png"}])
    kept = await bring(live, dumps(odd))
    shown = (await live.client.get(kept)).json()
    assert shown["data"]["assets"] == odd["data"]["assets"]
    assert (await live.client.put(kept, json=shown)).status_code == 200


@pytest.mark.anyio
async def test_png_is_the_avatar_or_drawn(live: Live) -> None:
    path = await bring(live, dumps(v2()))
    with Image.open(io.BytesIO((await export(live, path)).content)) as drawn:
        assert drawn.size == (400, 600)
    await live.client.put(f"{path}/avatar", content=draw("WEBP", (32, 20)))
    with Image.open(io.BytesIO((await export(live, path)).content)) as worn:
        assert (worn.size, worn.format) == ((32, 20), "PNG")


@pytest.mark.anyio
async def test_export_of_a_version_is_as_it_was(live: Live) -> None:
    path = await bring(live, illustrated(description="before"))
    await live.client.patch(path, json={"description": "after"})
    await live.client.delete(f"{path}/avatar")
    old = read_card((await export(live, path, format="charx", version=1)).content)
    assert (old.card.data.description, old.files[ICON]) == ("before", PORTRAIT)
    new = await read(live, path, "charx")
    assert (new.card.data.description, new.avatar_path) == ("after", None)
    missing = await live.client.get(f"{path}/export", params={"version": 9})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "version_not_found")


@pytest.mark.anyio
async def test_export_of_a_card_that_no_reader_has_settled(live: Live) -> None:
    """Registered as JSON, it is whatever the client sent."""
    odd = v3(
        assets=[{"type": "icon"}, {"uri": 7, "name": None}, {"type": "icon", "uri": "/x", "name": "main"}],
        character_book={"entries": 5, "x": None},
        tags=[],
        description="x" * 200_000,
        creation_date="yesterday",
    )
    made = await live.client.post("/characters", json={"id": "odd", **odd})
    assert made.status_code == 201
    for form in KINDS:
        assert (await export(live, "/characters/odd", format=form)).content
    assert (await live.client.get("/characters/odd/expressions")).json() == {"expressions": []}
    assert (await live.client.put("/characters/odd/avatar", content=SMILE)).status_code == 200


@pytest.mark.anyio
async def test_export_of_what_is_not_there_is_refused(live: Live) -> None:
    assert (await live.client.get("/characters/nobody/export")).status_code == 404
    for query in ({"format": "docx"}, {"version": "0"}, {"version": "x"}):
        answer = await live.client.get("/characters/lyra/export", params=query)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
