"""Versions beyond the most that are kept: the oldest go, and the files that only they had."""

import asyncio

import pytest
from redis.asyncio import Redis

from app.errors import NotFoundError, PreconditionError
from app.store.characters import CharacterRecord, CharacterStore
from app.store.lorebooks import LorebookRecord, LorebookStore, write_book
from characters.card import CardData, CharacterCard
from characters.formats.gallery import digest
from characters.lorebook import Lorebook
from models.renderer import Renderer
from tests.fake_engine import FakeEngine
from tests.live import serve_live

pytestmark = pytest.mark.anyio

MOST = 3


@pytest.fixture
def characters(redis: Redis) -> CharacterStore:
    return CharacterStore(redis, most_versions=MOST)


def odo(name: str = "Odo") -> CharacterRecord:
    return CharacterRecord("odo", 1, CharacterCard(data=CardData(name=name)))


async def with_face(characters: CharacterStore, record: CharacterRecord, face: bytes) -> CharacterRecord:
    return await characters.replace(record, {digest(face): face}, files={"face": digest(face)})


async def kept(characters: CharacterStore, record: CharacterRecord) -> list[int]:
    return [one.version for one in await characters.history.page(record)]


async def faces(redis: Redis, characters: CharacterStore) -> set[bytes]:
    values: list[bytes] = await redis.hvals(characters.key("files:odo"))  # type: ignore[assignment]  # of this client
    return set(values)


async def test_oldest_versions_go(characters: CharacterStore, redis: Redis) -> None:
    record = await characters.create(odo())
    for count in range(2, 8):
        record = await characters.replace(record)
        assert await kept(characters, record) == list(range(count, max(count - MOST, 0), -1))
    assert [entry["version"] for entry in await characters.history.entries("odo")] == [7, 6, 5]
    assert len(await redis.hkeys(characters.key("versions:odo"))) == 3 * (MOST - 1)
    with pytest.raises(NotFoundError, match="no version 4"):
        await characters.history.read(record, 4)
    with pytest.raises(NotFoundError, match="no version 4"):
        await characters.restore(record, 4)
    assert (await characters.restore(record, 5)).version == 8


async def test_one_version_is_the_present_one(redis: Redis) -> None:
    characters = CharacterStore(redis, most_versions=1)
    record = await with_face(characters, await characters.create(odo()), b"old")
    record = await with_face(characters, record, b"new")
    assert await kept(characters, record) == [3]
    assert await faces(redis, characters) == {b"new"}
    assert not await redis.exists(characters.key("versions:odo"))


async def test_lower_limit_is_met_at_the_next_change(redis: Redis) -> None:
    before, characters = CharacterStore(redis, most_versions=50), CharacterStore(redis, most_versions=MOST)
    record = await before.create(odo())
    for _ in range(9):
        record = await before.replace(record)
    assert len(await kept(before, record)) == 10
    assert await kept(characters, await characters.replace(record)) == [11, 10, 9]


async def test_files_go_with_the_last_version_that_names_them(characters: CharacterStore, redis: Redis) -> None:
    record = await with_face(characters, await characters.create(odo()), b"first")
    record = await with_face(characters, record, b"second")
    record = await with_face(characters, record, b"third")
    assert await faces(redis, characters) == {b"first", b"second", b"third"}
    record = await with_face(characters, record, b"second")
    assert await faces(redis, characters) == {b"second", b"third"}
    record = await characters.replace(record, files={})
    record = await characters.replace(record)
    assert await faces(redis, characters) == {b"second"}
    record = await characters.replace(record)
    assert await faces(redis, characters) == set()


async def test_restored_version_keeps_its_files(characters: CharacterStore, redis: Redis) -> None:
    record = await with_face(characters, await characters.create(odo()), b"first")
    record = await characters.replace(record, files={})
    for _ in range(2 * MOST):
        record = await characters.restore(record, record.version - 1)
        record = await characters.replace(record, files=record.files)
    assert await faces(redis, characters) == {b"first"}
    assert await characters.files.read("odo", digest(b"first")) == b"first"


async def test_files_of_versions_from_before_the_limit_stay_while_they_do(
    characters: CharacterStore, redis: Redis
) -> None:
    record = await with_face(characters, await characters.create(odo()), b"first")
    for _ in range(2):
        record = await characters.replace(record, files={})
        await redis.hdel(characters.key("versions:odo"), f"{record.version - 1}:files")
    record = await characters.replace(record)
    assert await faces(redis, characters) == {b"first"}
    for _ in range(MOST):
        record = await characters.replace(record)
    # Nothing that is kept says so by now: the next picture that goes takes it along.
    for face in (b"new", b"newer", b"newest", b"last"):
        record = await with_face(characters, record, face)
    assert b"first" not in await faces(redis, characters)


async def test_writers_at_once_keep_as_many(characters: CharacterStore, redis: Redis) -> None:
    await characters.create(odo())
    other = CharacterStore(redis, most_versions=MOST)

    async def change(store: CharacterStore, face: bytes) -> None:
        async def once(_: CharacterRecord) -> dict[str, dict[str, str]]:
            return {"files": {"face": digest(face)}}

        await store.rewrite("odo", once, {digest(face): face}, insist=True)

    await asyncio.gather(*(change(store, b"%d" % n) for n in range(8) for store in (characters, other)))
    record = await characters.get("odo")
    assert record.version == 17
    versions = await characters.history.page(record)
    assert [one.version for one in versions] == [17, 16, 15]
    assert {digest(face) for face in await faces(redis, characters)} == {one.files["face"] for one in versions}


async def test_note_makes_no_version(characters: CharacterStore, redis: Redis) -> None:
    record = await characters.replace(await characters.create(odo()))
    noted = await characters.note(record, warnings=("told",))
    assert (noted.version, noted.revision == record.revision) == (2, False)
    assert await characters.get("odo") == noted
    with pytest.raises(PreconditionError):
        await characters.note(record, warnings=("told twice",))
    changed = await characters.replace(noted)
    assert await characters.history.page(changed) == [changed, noted, await characters.history.read(changed, 1)]


async def test_lorebooks_have_the_same_limit(redis: Redis) -> None:
    lorebooks = LorebookStore(redis, most_versions=2)
    record = await lorebooks.create(LorebookRecord("book", 1, write_book(Lorebook(name="Book"))))
    for _ in range(3):
        record = await lorebooks.replace(record)
    assert [one.version for one in await lorebooks.version_summaries("book", before=None, limit=9)] == [4, 3]


async def test_limit_is_a_setting_that_sessions_outlive(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with serve_live(FakeEngine(renderer), redis_url, max_versions=2) as live:
        await live.client.post("/characters", json={"id": "odo", "name": "Odo", "description": "A baker."})
        session = (await live.client.post("/sessions", json={"character_id": "odo"})).json()
        for name in ("Odo 2", "Odo 3", "Odo 4"):
            await live.client.patch("/characters/odo", json={"name": name})
        listed = (await live.client.get("/characters/odo/versions")).json()
        assert ([one["version"] for one in listed["versions"]], listed["next_cursor"]) == ([4, 3], None)
        assert (await live.client.get("/characters/odo/versions/1")).status_code == 404
        said = await live.client.post(f"/sessions/{session['id']}/messages", json={"content": "Good evening."})
        assert said.status_code == 200
        assert "A baker." in renderer.decode(live.engine.prompts[-1])
