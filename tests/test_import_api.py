"""Files as characters over HTTP: each with its own result, read beside the event loop, with their pictures."""

import asyncio
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anyio import BrokenWorkerProcess, to_process
from redis.asyncio import Redis

from app.api.characters.imports import MOST_GIVEN_UP, Importing, Result
from app.api.http.upload import Upload
from app.errors import ApiError, UnavailableError
from app.store.characters import CharacterStore
from app.store.lorebooks import LorebookStore
from app.worker import reading
from app.worker.pool import FileBeyondError, T, Ts, Worker
from app.worker.reading import read_upload
from characters.card import CardError
from models.renderer import Renderer
from tests.cards import PORTRAIT, charx, dumps, encode, packed_text, png, text, v2, v3, with_entry, zipped
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
LINK = with_entry("a", b"/etc/passwd", stat.S_IFLNK | 0o777)
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
    "a zTXt bomb": (png(packed_text("chara", bytes(300 << 20))), "chunk_too_large"),
    "a link": (LINK, "symlink"),
    "a field of a megabyte": (dumps(v2(description="A" * (1 << 20))), "field_too_large"),
    "lore of a megabyte": (dumps(v2(character_book={"entries": [{"content": "A" * (1 << 20)}]})), "field_too_large"),
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
async def test_chat_streams_on_while_a_large_file_is_read(live: Live, tmp_path: Path) -> None:
    """The event loop has no more than a small part of the work that the reader has here."""
    entries = [{"keys": [f"/k{number}.*z/i", "a, b"], "content": "c " * 40} for number in range(60)]
    card = dumps(v2(character_book={"entries": entries}))
    blob = zipped({f"{number}.json": card for number in range(20)})
    upload = tmp_path / "many.zip"
    upload.write_bytes(blob)
    began = time.perf_counter()
    assert len(read_upload(upload, tmp_path, 0)[0]) == 20
    work_s = time.perf_counter() - began
    gaps: list[float] = []

    async def watch() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()

    await send(live, dumps(v2()))  # starts the process
    watching = asyncio.create_task(watch())
    assert len((await send(live, blob)).json()["results"]) == 20
    watching.cancel()
    assert max(gaps) < work_s / 2


@pytest.mark.anyio
async def test_client_that_leaves_its_upload_is_no_bug(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "app.api.http.failure")
    url = live.client.base_url
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"POST /characters/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf of it")
    await writer.drain()
    writer.close()
    await until(lambda: caplog.records, "the server has noticed")
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


# The worker


@pytest.mark.anyio
async def test_worker_gives_way() -> None:
    assert await Worker().run(os.sched_getscheduler, 0) == os.SCHED_IDLE


@pytest.mark.anyio
async def test_worker_rests_between_files_while_somebody_is_answered() -> None:
    told = [False]
    worker = Worker(most=1, answering=lambda: told[-1])
    await worker.run(os.getpid)
    times: list[float] = []
    for answering in (False, True):
        told.append(answering)
        await worker.run(time.sleep, 0.1)
        began = time.monotonic()
        await worker.run(os.getpid)
        times.append(time.monotonic() - began)
    assert times[0] < 0.2 < 0.29 < times[1]


@pytest.mark.anyio
async def test_worker_tells_of_what_it_read(tmp_path: Path) -> None:
    [found], following = await Worker().run(read_upload, Path("/dev/null"), tmp_path, 0)
    assert isinstance(found.item, CardError)
    assert (found.item.code, following) == ("empty_file", None)


def test_reading_gets_on_however_slow_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_S", -1.0)
    upload = tmp_path / "many.zip"
    upload.write_bytes(zipped({"a.json": dumps(v2()), "b.json": dumps(v2())}))
    [first], following = read_upload(upload, tmp_path, 0)
    assert (first.path, following) == ("a.json", 1)
    [last], following = read_upload(upload, tmp_path, 1)
    assert (last.path, following) == ("b.json", None)


def test_reading_hands_over_a_few_megabytes_of_cards_at_once(tmp_path: Path) -> None:
    large = dumps(v2(character_book={"entries": [{"keys": ["a"], "content": "b" * 250_000}] * 4}))
    upload = tmp_path / "many.zip"
    upload.write_bytes(zipped({f"{number}.json": large for number in range(6)}))
    founds, following = read_upload(upload, tmp_path, 0)
    assert (len(founds), following) == (3, 3)
    assert sum(found.size for found in founds) < reading.MOST_JSON_BYTES + len(large)


@pytest.mark.anyio
async def test_file_that_is_too_much_leaves_the_others_of_its_zip(tmp_path: Path, redis: Redis) -> None:
    """A worker that gives up wherever it comes to the files `bad…`, as it does where one takes too long."""

    class Weak(Worker):
        async def run(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
            result: Any = function(*arguments)
            if isinstance(result[0], list) and any("bad" in found.path for found in result[0]):
                raise FileBeyondError("the file takes longer than it may", code="file_too_slow")
            returned: T = result
            return returned

    async def take(*paths: str) -> list[Result]:
        upload = Upload("many.zip", tmp_path / "many.zip")
        upload.path.write_bytes(zipped({path: dumps(v2()) for path in paths}))
        importing = Importing(CharacterStore(redis), LorebookStore(redis), Weak(), [])
        await importing.take(upload, "")
        return importing.results

    results = await take("a.json", "b.json", "bad.json", "c.json", "bad2.json")
    assert [(one["file"], one.get("error", {}).get("code")) for one in results] == [
        ("a.json", None),
        ("b.json", None),
        ("bad.json", "file_too_slow"),
        ("c.json", None),
        ("bad2.json", "file_too_slow"),
    ]
    *bad, rest = await take(*(f"bad{number}.json" for number in range(20)))
    assert [one["file"] for one in bad] == [f"bad{number}.json" for number in range(MOST_GIVEN_UP)]
    assert (rest["file"], rest["error"]["code"]) == ("many.zip", "file_too_slow")


@pytest.mark.anyio
async def test_worker_that_cannot_start_is_not_the_files_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise BrokenWorkerProcess("Error during worker process initialization")

    monkeypatch.setattr(to_process, "run_sync", fail)
    with pytest.raises(UnavailableError) as caught:
        await Worker().run(os.getpid)
    assert caught.value.error_code == "worker_failed"


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
