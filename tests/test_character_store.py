"""Characters in Redis: changed by one writer at a time, planted once."""

import asyncio

import orjson
import pytest
from redis.asyncio import Redis

from app.errors import ConflictError, NotFoundError, PreconditionError
from app.store.characters import CharacterRecord, CharacterStore
from app.store.scripts import load_script
from characters.card import CardData, CharacterCard
from characters.library import load_library


@pytest.fixture
def characters(redis: Redis) -> CharacterStore:
    return CharacterStore(redis)


def card(name: str, *tags: str) -> CharacterCard:
    return CharacterCard(data=CardData(name=name, tags=list(tags)))


def named(character_id: str, name: str, *tags: str) -> CharacterRecord:
    return CharacterRecord(character_id, 1, card(name, *tags))


@pytest.mark.anyio
async def test_character_comes_back_as_it_was_written(characters: CharacterStore) -> None:
    for character_id, shipped in load_library().items():
        assert (await characters.create(CharacterRecord(character_id, 1, shipped))).card == shipped
        assert (await characters.get(character_id)).card == shipped


@pytest.mark.anyio
async def test_character_id_is_taken_once(characters: CharacterStore) -> None:
    await characters.create(named("odo", "Odo"))
    with pytest.raises(ConflictError, match="already"):
        await characters.create(named("odo", "Odo the second"))
    assert (await characters.get("odo")).card.name == "Odo"


@pytest.mark.anyio
async def test_unnamed_characters_are_numbered(characters: CharacterStore) -> None:
    made = await asyncio.gather(*(characters.create_unnamed(named("odo", "Odo")) for _ in range(8)))
    assert {record.id for record in made} == {"odo", *(f"odo-{number}" for number in range(2, 9))}


@pytest.mark.anyio
async def test_character_changes_have_one_winner(characters: CharacterStore) -> None:
    record = await characters.create(named("odo", "Odo"))
    outcomes = await asyncio.gather(
        *(characters.replace(record, card=card(f"Odo {number}")) for number in range(10)), return_exceptions=True
    )
    assert sum(isinstance(outcome, PreconditionError) for outcome in outcomes) == 9
    assert (await characters.get("odo")).version == 2


@pytest.mark.anyio
async def test_changed_character_is_not_deleted_unseen(characters: CharacterStore) -> None:
    record = await characters.create(named("odo", "Odo"))
    await characters.replace(record, card=card("Odo, changed"))
    with pytest.raises(PreconditionError):
        await characters.delete(record)
    assert (await characters.get("odo")).card.name == "Odo, changed"


@pytest.mark.anyio
async def test_deleted_character_leaves_nothing(characters: CharacterStore, redis: Redis) -> None:
    await characters.delete(await characters.create(named("odo", "Odo")))
    # What is left says that it is gone, to processes that keep an index.
    assert set(await redis.keys("*")) == {characters.key(part).encode() for part in ("changes", "changed")}
    with pytest.raises(NotFoundError):
        await characters.get("odo")


@pytest.mark.anyio
async def test_replacing_a_deleted_character_is_not_found(characters: CharacterStore) -> None:
    record = await characters.create(named("odo", "Odo"))
    await characters.delete(record)
    with pytest.raises(NotFoundError):
        await characters.replace(record, card=card("Odo"))


@pytest.mark.anyio
async def test_list_finds_by_name_and_tag(characters: CharacterStore) -> None:
    await characters.create(named("odo", "Odo Brann", "Baker", "old"))
    await characters.create(named("mira", "MIRA", "thief", "old"))
    await characters.create(named("straße", "Straße", "bAKER"))

    async def found(query: str = "", tag: str = "") -> list[str]:
        return [record.id for record in (await characters.search(query=query, tag=tag))[0]]

    assert await found() == ["mira", "odo", "straße"]
    assert await found(query="bran") == ["odo"]
    assert await found(query="mira") == ["mira"]
    assert await found(query="STRASSE") == ["straße"]
    assert await found(tag="baker") == ["odo", "straße"]
    assert await found(tag="old", query="o") == ["odo"]
    assert await found(tag="bake") == []


@pytest.mark.anyio
async def test_list_finds_by_name_and_by_nickname(characters: CharacterStore) -> None:
    nicknamed = CharacterCard(data=CardData(name="Odo Brann", nickname="Bear"))
    await characters.create(CharacterRecord("x", 1, nicknamed))
    for query in ("brann", "bear"):
        assert [record.id for record in (await characters.search(query=query))[0]] == ["x"]


@pytest.mark.anyio
async def test_page_of_large_characters_ends_before_its_limit(characters: CharacterStore) -> None:
    sizes = {"a": 1, "b": 1_500_000, "c": 1_500_000, "d": 3_000_000, "e": 1}
    for name, size in sizes.items():
        large = CharacterCard(data=CardData(name=name, description="x" * size))
        await characters.create(CharacterRecord(name, 1, large))
    pages: list[list[str]] = []
    cursor: str | None = ""
    while cursor is not None:
        records, cursor = await characters.search(after=cursor)
        pages.append([record.id for record in records])
    assert pages == [["a", "b"], ["c"], ["d"], ["e"]]


@pytest.mark.anyio
async def test_versions_are_listed_without_their_cards(
    characters: CharacterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await characters.create(named("odo", "Odo"))
    for number in (2, 3, 4):
        record = await characters.replace(record, card=card(f"Odo {number}"))
    monkeypatch.setattr(CharacterRecord, "loads", None)

    async def told(**bounds: int) -> list[tuple[int, str]]:
        return [(one["version"], one["name"]) for one in await characters.history.entries("odo", **bounds)]

    assert await told() == [(4, "Odo 4"), (3, "Odo 3"), (2, "Odo 2"), (1, "Odo")]
    assert await told(limit=2) == [(4, "Odo 4"), (3, "Odo 3")]
    assert await told(before=3, limit=1) == [(2, "Odo 2")]
    assert await told(before=1) == []
    with pytest.raises(NotFoundError):
        await characters.history.entries("nobody")


@pytest.mark.anyio
async def test_library_is_planted_once(characters: CharacterStore) -> None:
    library = {"odo": card("Odo"), "mira": card("Mira"), "una": card("Una")}
    await characters.plant(library)
    await characters.delete(await characters.get("odo"))
    await characters.replace(await characters.get("mira"), card=card("Mira, mine"))
    await characters.plant(library)
    assert await characters.ids() == ["mira", "una"]
    assert (await characters.get("mira")).card.name == "Mira, mine"


@pytest.mark.anyio
async def test_planting_leaves_a_users_character_of_that_id(characters: CharacterStore) -> None:
    await characters.create(named("odo", "My own Odo"))
    await characters.plant({"odo": card("Odo")})
    assert (await characters.get("odo")).card.name == "My own Odo"


@pytest.mark.anyio
async def test_character_made_anew_is_not_taken_for_the_one_before(characters: CharacterStore) -> None:
    record = await characters.create(named("odo", "Odo"))
    await characters.delete(record)
    anew = await characters.create(named("odo", "Another Odo"))
    assert (anew.version, anew.revision == record.revision) == (record.version, False)
    with pytest.raises(PreconditionError):
        await characters.replace(record, card=card("Odo, changed"))
    with pytest.raises(PreconditionError):
        await characters.delete(record)
    assert await characters.get("odo") == anew


@pytest.mark.anyio
async def test_character_from_before_revisions_can_be_changed(characters: CharacterStore, redis: Redis) -> None:
    stored = {"id": "odo", "version": 3, "card": card("Odo").model_dump(exclude_unset=True)}
    await redis.hset(characters.key("records"), "odo", orjson.dumps(stored))
    await redis.hset(characters.key("index"), "odo", orjson.dumps({"version": 3, "name": "Odo", "tags": []}))
    changed = await characters.replace(await characters.get("odo"), card=card("Odo, changed"))
    assert changed.version == 4
    assert await characters.get("odo") == changed
    await characters.delete(changed)


@pytest.mark.anyio
async def test_write_sent_twice_is_done_once(characters: CharacterStore, redis: Redis) -> None:
    record = CharacterRecord("odo", 1, card("Odo"))
    entry = orjson.dumps({"revision": record.revision, "version": 1})
    write = redis.register_script(load_script("write_record"))
    parts = ("records", "index", "changes", "changed", "versions:odo", "files:odo")
    keys = [characters.key(part) for part in parts]
    for _ in range(2):
        assert await write(keys, ["odo", "", record.revision, record.dumps(), entry]) == b"ok"
    assert await redis.get(characters.key("changed")) == b"1"
    assert not await redis.exists(characters.key("versions:odo"))


@pytest.mark.anyio
async def test_every_version_is_kept(characters: CharacterStore, redis: Redis) -> None:
    made = await characters.create(named("odo", "Odo"))
    changed = await characters.replace(made, card=card("Odo, older"))
    latest = await characters.replace(changed, card=card("Odo, oldest"))
    assert await characters.history.page(latest) == [latest, changed, made]
    assert await characters.history.read(latest, 1) == made
    with pytest.raises(NotFoundError, match="version 9"):
        await characters.history.read(latest, 9)
    await characters.delete(latest)
    assert not await redis.exists(characters.key("versions:odo"))


@pytest.mark.anyio
async def test_processes_see_each_others_changes(redis: Redis) -> None:
    one, other = CharacterStore(redis), CharacterStore(redis)
    made = await one.create(named("odo", "Odo"))
    assert await other.ids() == ["odo"]
    renamed = await other.replace(made, card=card("Mira"))
    assert [record.id for record in (await one.search(query="mira"))[0]] == ["odo"]
    await one.delete(renamed)
    await one.create(named("una", "Una"))
    assert await other.ids() == ["una"]


@pytest.mark.anyio
async def test_index_survives_a_store_that_went_back_in_time(redis: Redis) -> None:
    characters = CharacterStore(redis)
    for number in range(5):
        await characters.create(named(f"odo-{number}", "Odo"))
    assert len(await characters.ids()) == 5
    await redis.flushdb()
    assert await characters.ids() == []
    await CharacterStore(redis).create(named("mira", "Mira"))
    assert await characters.ids() == ["mira"]
