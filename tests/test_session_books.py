"""The lorebooks that go with a session: loaded by their ids, and named by characters' cards."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from redis.asyncio import Redis

from app.errors import InvalidRequestError
from app.sessions import books
from app.sessions.books import attached, check_books, load_books
from app.store.lorebooks import LorebookRecord, LorebookStore, StoredBook, write_book
from characters.card import CardData, CardError, CharacterCard
from characters.formats.document import clean
from characters.lore.coercion import Coercion
from characters.lorebook import parse_lorebook
from tests.lore import entry, v3_books


@pytest.fixture
def lorebooks(redis: Redis) -> LorebookStore:
    return LorebookStore(redis)


def book(*keys: str, **fields: Any) -> StoredBook:
    return write_book(parse_lorebook({"entries": [entry(key) for key in keys], **fields})[0])


def card(ours: Any) -> CharacterCard:
    return CharacterCard(data=CardData(name="Odo", extensions={"opencharacter": ours}))


@pytest.mark.anyio
async def test_book_comes_back_as_it_was_written(lorebooks: LorebookStore) -> None:
    value = {"name": "Trees", "x": [1, None], "entries": [entry("ash", id=7, constant=None), entry("elm", y=0.5)]}
    parsed, _ = parse_lorebook(value)
    record = await lorebooks.create(LorebookRecord("trees", 1, write_book(parsed, ["odd"])))
    read = await lorebooks.get("trees")
    assert read == record
    assert (read.book.read(), read.book.warnings) == (parsed, ("odd",))
    assert read.book.read().model_fields_set == parsed.model_fields_set


@given(v3_books)
def test_any_book_comes_back(value: dict[str, Any]) -> None:
    with suppress(CardError):
        parsed, _ = parse_lorebook(clean(value, Coercion()))
        assert write_book(parsed).read() == parsed


@pytest.mark.anyio
async def test_books_are_loaded_in_order_and_once(lorebooks: LorebookStore) -> None:
    for name in ("ash", "elm", "oak"):
        await lorebooks.create(LorebookRecord(name, 1, book(name, name="The same")))
    loaded = await load_books(lorebooks, ["oak", "ash", "oak"])
    assert [(name, one.entries[0].keys) for name, one in loaded] == [("oak", ["oak"]), ("ash", ["ash"])]
    assert await load_books(lorebooks, []) == []


@pytest.mark.anyio
async def test_unknown_book_is_refused(lorebooks: LorebookStore) -> None:
    await lorebooks.create(LorebookRecord("ash", 1, book("ash")))
    assert await lorebooks.known(["elm", "ash"]) == ["ash"]
    with pytest.raises(InvalidRequestError, match="'elm'") as refused:
        await load_books(lorebooks, ["ash", "elm"])
    assert (refused.value.param, refused.value.error_code) == ("lorebook_ids", "lorebook_not_found")


@pytest.mark.anyio
async def test_books_of_a_session_are_bounded(lorebooks: LorebookStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ash", "elm"):
        await lorebooks.create(LorebookRecord(name, 1, book(name)))
    with pytest.raises(InvalidRequestError, match="at most 32"):
        await check_books(lorebooks, ["ash"] * 33)
    monkeypatch.setattr(books, "MAX_BOOKS_BYTES", len(book("ash").text))
    assert len(await load_books(lorebooks, ["ash"])) == 1
    with pytest.raises(InvalidRequestError, match="together") as refused:
        await load_books(lorebooks, ["ash", "elm"])
    assert refused.value.param == "lorebook_ids"


@pytest.mark.anyio
async def test_summaries_need_no_books(lorebooks: LorebookStore, redis: Redis) -> None:
    await lorebooks.create(LorebookRecord("ash", 1, book("ash", "elm")))
    await redis.delete(lorebooks.key("records"))
    (summary,), following = await lorebooks.summaries()
    assert (summary.id, summary.name, summary.entries, summary.version, following) == ("ash", "ash", 2, 1, None)


@pytest.mark.parametrize(
    ("ours", "ids"),
    [
        ({"lorebooks": ["ash", "elm", "ash"]}, ["ash", "elm"]),
        ({"lorebooks": ["ash", 7, None, "", {"id": "elm"}]}, ["ash"]),
        ({"lorebooks": [f"book-{number}" for number in range(99)]}, [f"book-{number}" for number in range(32)]),
        ({"lorebooks": "ash"}, []),
        ({"lorebooks": None}, []),
        ({}, []),
        ([], []),
        ("ash", []),
    ],
    ids=range(8),
)
def test_books_that_a_card_names_are_read(ours: Any, ids: list[str]) -> None:
    assert attached(card(ours)) == ids
