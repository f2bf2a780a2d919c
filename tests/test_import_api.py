"""Files as characters over HTTP: each with its own result, read beside the event loop, with their pictures."""

import asyncio
import os
import tempfile
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.errors import ApiError
from app.worker.pool import NICENESS, Worker
from app.worker.reading import read_upload
from characters.card import CardError
from models.renderer import Renderer
from tests.cards import PORTRAIT, charx, dumps, encode, png, text, v2, v3, zipped
from tests.conftest import is_running
from tests.fake_engine import FakeEngine
from tests.faults import until
from tests.live import Live, serve_live
from tests.uploads import JOY, SMILE, bring, illustrated, send

BOOK = {"entries": {"0": {"uid": 0, "key": ["hive"], "content": "Six hives.", "order": 100, "position": 0}}}


@pytest.mark.anyio
async def test_form_of_many_files_has_a_result_for_each(live: Live) -> None:
    forms = [
        ("file", ("ida.png", png(text("chara", encode(v2(name="Ida")))))),
        ("file", ("eve.json", dumps(v2(name="Eve", tags="a, b")))),
        ("file", ("cat.png", PORTRAIT)),
        ("file", ("many.zip", zipped({"una.json": dumps(v2(name="Una")), "in/bad.json": b"{"}))),
    ]
    answer = await live.client.post("/characters/import", files=forms)
    assert answer.status_code == 200
    ida, eve, cat, una, bad = answer.json()["results"]
    assert ida == {"file": "ida.png", "id": "ida", "name": "Ida", "warnings": []}
    assert (eve["id"], eve["warnings"]) == ("eve", ["`tags` was one text where a list belongs"])
    assert cat["file"] == "cat.png"
    assert cat["error"]["code"] == "no_card_in_png"
    assert "this is a PNG without a character" in cat["error"]["message"]
    assert (una["file"], una["id"]) == ("many.zip/una.json", "una")
    assert (bad["file"], bad["error"]["code"]) == ("many.zip/in/bad.json", "invalid_json")
    shown = (await live.client.get("/characters/eve")).json()
    assert (shown["data"]["tags"], shown["warnings"]) == (["a", "b"], eve["warnings"])


@pytest.mark.anyio
async def test_body_of_one_file_is_called_as_the_query_says(live: Live) -> None:
    [result] = (await send(live, dumps(v2()), "ida.json")).json()["results"]
    assert result == {"file": "ida.json", "id": "ida", "name": "Ida", "warnings": []}
    results = (await send(live, zipped({"a.json": dumps(v2()), "b.json": dumps(v2())}))).json()["results"]
    assert [(one["file"], one["id"]) for one in results] == [("a.json", "ida-2"), ("b.json", "ida-3")]


@pytest.mark.anyio
async def test_import_brings_pictures_and_every_other_file(live: Live) -> None:
    path = await bring(live, illustrated(name="Odo"))
    avatar = await live.client.get(f"{path}/avatar")
    assert (avatar.content, avatar.headers["content-type"]) == (PORTRAIT, "image/png")
    joy = await live.client.get(f"{path}/expressions/joy")
    assert (joy.content, joy.headers["content-type"]) == (SMILE, "image/webp")
    record = await live.app.state.characters.get("odo")
    assert {"module.risum", JOY} < set(record.files)


@pytest.mark.anyio
async def test_import_is_told_in_one_sentence_when_nothing_was(live: Live) -> None:
    answer = await send(live, PORTRAIT, "cat.png")
    assert answer.status_code == 400
    body = answer.json()
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["code"] == "no_card_in_png"
    assert body["results"] == [
        {"file": "cat.png", "error": {"message": body["error"]["message"], "code": "no_card_in_png"}}
    ]
    both = await live.client.post("/characters/import", files=[("file", ("a", PORTRAIT)), ("file", ("b", b""))])
    assert both.status_code == 400
    assert "none of 2 files" in both.json()["error"]["message"]
    assert [result["error"]["code"] for result in both.json()["results"]] == ["no_card_in_png", "empty_file"]


CARD = text("chara", encode(v2()))
ENCRYPTED = png(text("chara", b"rcc||rccv1||AAAA||BBBB||CCCC"))
TRAVERSAL = charx(v3(), {"assets/../../../etc/passwd": b"x"})
HUGE_CHUNK = png(text("chara", b"A" * 6_000_000))
HOSTILE = {
    "a chunk of 6 MB": (HUGE_CHUNK, "chunk_too_large"),
    "a ZIP bomb": (charx(v3(), {"a.bin": bytes(40 << 20)}), "zip_bomb"),
    "a path that climbs": (TRAVERSAL, "unsafe_path"),
    "an encrypted card": (ENCRYPTED, "encrypted_card"),
    "a PNG cut off": (png(CARD)[:-20], "truncated_png"),
    "a wrong checksum": (png(CARD[:-1] + bytes([CARD[-1] ^ 1])), "bad_crc"),
    "a PNG without a card": (PORTRAIT, "no_card_in_png"),
    "bad base64": (png(text("chara", b"%%%")), "bad_base64"),
    "Latin-1": ('{"name": "Zoë", "description": ""}'.encode("latin-1"), "not_utf8"),
    "JSON 200 deep": (b'{"name": "Ida", "description": ' + b"[" * 200 + b"]" * 200 + b"}", "too_deep"),
    "a key twice": (b'{"name": "Ida", "name": "Eve", "description": ""}', "duplicate_key"),
    "a page": (b"<!DOCTYPE html><script>alert(1)</script>", "unknown_format"),
    "nothing": (b"", "empty_file"),
}


@pytest.mark.anyio
async def test_hostile_files_are_refused_each_by_its_fault(live: Live) -> None:
    for name, (blob, code) in HOSTILE.items():
        answer = await send(live, blob)
        assert (name, answer.status_code, answer.json()["error"]["code"]) == (name, 400, code)
    listed = (await live.client.get("/characters", params={"q": "ida"})).json()["characters"]
    assert listed == []


@pytest.mark.anyio
async def test_lorebook_on_its_own_goes_to_the_lorebooks(live: Live) -> None:
    [result] = (await send(live, dumps({"name": "The garden", **BOOK}), "garden.json")).json()["results"]
    assert (result["file"], result["name"]) == ("garden.json", "The garden")
    book = (await live.client.get(f"/lorebooks/{result['lorebook_id']}")).json()
    assert [entry["content"] for entry in book["data"]["entries"]] == ["Six hives."]
    [unnamed] = (await send(live, dumps(BOOK), "hives.json")).json()["results"]
    assert unnamed["name"] == "hives"


@pytest.mark.anyio
async def test_body_too_large_is_refused(renderer: Renderer, redis_url: str, redis: Redis) -> None:
    async with serve_live(FakeEngine(renderer), redis_url, max_import_bytes=4096) as live:
        body = await live.client.post("/characters/import", content=bytes(8192))
        form = await live.client.post("/characters/import", files={"file": ("a.png", bytes(1 << 17))})
        for answer in (body, form):
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("multipart/form-data", b"anything", "invalid_form"),
        ("multipart/form-data; boundary=x", b"--y\r\nno form", "invalid_form"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", "no_file"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n{}\r\n--x--\r\n',
            "no_file",
        ),
    ],
)
async def test_form_that_is_none_is_refused(live: Live, content_type: str, body: bytes, code: str) -> None:
    answer = await live.client.post("/characters/import", content=body, headers={"content-type": content_type})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


@pytest.mark.anyio
async def test_import_leaves_nothing_on_the_disk(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = await bring(live, illustrated())
    await send(live, PORTRAIT)
    assert (await live.client.get(f"{path}/export", params={"format": "charx"})).status_code == 200
    await until(lambda: not list(tmp_path.iterdir()), "all is tidied up")


@pytest.mark.anyio
async def test_nul_in_a_card_is_replaced(live: Live) -> None:
    [result] = (await send(live, dumps(v2(description="a\0\0b \\u0000")))).json()["results"]
    assert any("NUL" in warning for warning in result["warnings"])
    shown = (await live.client.get(f"/characters/{result['id']}")).json()
    assert shown["data"]["description"] == "a\ufffd\ufffdb \\u0000"
    answer = await live.client.put(f"/characters/{result['id']}", json=shown)
    assert (answer.status_code, answer.json()["warnings"]) == (200, [])


@pytest.mark.anyio
async def test_chat_streams_on_while_a_large_file_is_read(live: Live) -> None:
    """The reader has a second of work here; the event loop has none of it."""
    blob = zipped(
        {f"{number}.json": dumps(v2(name=f"Ida {number}", description="a b " * 9000)) for number in range(40)}
    )
    gaps: list[float] = []

    async def watch() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()

    await send(live, dumps(v2()))  # starts the process
    watching = asyncio.create_task(watch())
    assert len((await send(live, blob)).json()["results"]) == 40
    watching.cancel()
    assert max(gaps) < 0.25


# The worker


@pytest.mark.anyio
async def test_worker_gives_way() -> None:
    assert await Worker().run(os.getpriority, os.PRIO_PROCESS, 0) == NICENESS


@pytest.mark.anyio
async def test_worker_tells_of_what_it_read(tmp_path: Path) -> None:
    [found], following = await Worker().run(read_upload, Path("/dev/null"), tmp_path, 0)
    assert isinstance(found.item, CardError)
    assert (found.item.code, following) == ("empty_file", None)


@pytest.mark.anyio
async def test_worker_gives_up_what_takes_too_long_or_too_much() -> None:
    pid = await Worker().run(os.getpid)
    with pytest.raises(ApiError) as slow:
        await Worker(limit_s=0.05).run(time.sleep, 60)
    assert (slow.value.status, slow.value.error_code) == (400, "file_too_slow")
    assert not is_running(pid)
    with pytest.raises(ApiError) as heavy:
        await Worker().run(os._exit, 1)
    assert (heavy.value.status, heavy.value.error_code) == (400, "file_too_heavy")
    assert await Worker().run(os.getpid) != pid
