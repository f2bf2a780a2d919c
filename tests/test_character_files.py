"""A character's files in Redis: written with the version that names them, kept with it, erased with the character."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from redis.asyncio import Redis

from app.errors import ConflictError, NotFoundError
from app.store.characters import CharacterRecord, CharacterStore
from app.store.files import MOST_COPIES
from characters.card import CardData, CharacterCard
from characters.formats.gallery import digest
from characters.library import load_library

FACE, SMILE = b"a face", b"a smile"


@pytest.fixture
def characters(redis: Redis) -> CharacterStore:
    return CharacterStore(redis)


def odo(**files: bytes) -> tuple[CharacterRecord, dict[str, bytes]]:
    """A character with these files, and their contents by digest."""
    paths = {path: digest(blob) for path, blob in files.items()}
    card = CharacterCard(data=CardData(name="Odo"))
    record = CharacterRecord("odo", 1, card, files=paths, warnings=("a warning",))
    return record, {digest(blob): blob for blob in files.values()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.anyio
async def test_record_comes_back_with_its_files_and_warnings(characters: CharacterStore) -> None:
    made = await characters.create(*odo(face=FACE, again=FACE, smile=SMILE))
    assert await characters.get("odo") == made
    assert await characters.files.read("odo", made.files["face"]) == FACE
    assert await characters.files.read_all("odo", made.files) == {digest(FACE): FACE, digest(SMILE): SMILE}


@pytest.mark.anyio
async def test_files_are_laid_out_for_two_at_a_time(
    characters: CharacterStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await characters.create(*odo(face=FACE, smile=SMILE))
    read_all, reading, most = characters.files.read_all, 0, 0

    async def watched(record_id: str, files: Mapping[str, str]) -> dict[str, bytes]:
        nonlocal reading, most
        reading, most = reading + 1, max(most, reading + 1)
        try:
            return await read_all(record_id, files)
        finally:
            reading -= 1

    monkeypatch.setattr(characters.files, "read_all", watched)
    await asyncio.gather(*(characters.files.copy("odo", made.files, tmp_path) for _ in range(6)))
    assert most == MOST_COPIES
    assert contents(tmp_path) == {digest(FACE): FACE, digest(SMILE): SMILE}


@pytest.mark.anyio
async def test_version_keeps_the_files_that_it_had(characters: CharacterStore) -> None:
    made = await characters.create(*odo(face=FACE))
    changed = await characters.replace(made, {digest(SMILE): SMILE}, files={"face": digest(SMILE)})
    restored = await characters.restore(changed, 1)
    assert (restored.version, restored.files, restored.card) == (3, made.files, made.card)
    assert restored.revision != made.revision
    for record, blob in ((made, FACE), (changed, SMILE), (restored, FACE)):
        before = await characters.history.read(restored, record.version)
        assert await characters.files.read("odo", before.files["face"]) == blob


@pytest.mark.anyio
async def test_refused_write_leaves_no_files(characters: CharacterStore, redis: Redis) -> None:
    await characters.create(*odo())
    with pytest.raises(ConflictError):
        await characters.create(*odo(face=FACE))
    assert not await redis.exists(characters.key("files:odo"))


@pytest.mark.anyio
async def test_deleted_character_takes_its_files_along(characters: CharacterStore, redis: Redis) -> None:
    made = await characters.create(*odo(face=FACE))
    await characters.delete(await characters.replace(made, {digest(SMILE): SMILE}, files={"face": digest(SMILE)}))
    assert not await redis.exists(characters.key("files:odo"), characters.key("versions:odo"))
    with pytest.raises(NotFoundError):
        await characters.files.read("odo", digest(FACE))
    with pytest.raises(NotFoundError):
        await characters.files.read_all("odo", made.files)


@pytest.mark.anyio
async def test_versions_are_paged_newest_first(characters: CharacterStore) -> None:
    record = await characters.create(*odo())
    for _ in range(4):
        record = await characters.replace(record)

    async def page(**bounds: int) -> list[int]:
        return [one.version for one in await characters.history.page(record, **bounds)]

    assert await page(limit=2) == [5, 4]
    assert await page(before=4, limit=2) == [3, 2]
    assert await page(before=2, limit=2) == [1]
    assert await page(before=1) == []
    assert await page(before=99) == [5, 4, 3, 2, 1]


@pytest.mark.anyio
async def test_many_of_one_name_are_numbered(characters: CharacterStore, redis: Redis) -> None:
    made = [(await characters.create_unnamed(*odo(face=FACE))).id for _ in range(5)]
    assert made == ["odo", "odo-2", "odo-3", "odo-4", "odo-5"]
    await characters.delete(await characters.get("odo-3"))
    again = odo(face=FACE)
    assert (await CharacterStore(redis).create_unnamed(*again)).id == "odo-3"
    # The same write is the same character, however often it is sent.
    assert (await CharacterStore(redis).create_unnamed(*again)).id == "odo-3"


@pytest.mark.anyio
async def test_planted_library_has_no_files(characters: CharacterStore) -> None:
    await characters.plant(load_library())
    assert (await characters.get("lyra")).files == {}
