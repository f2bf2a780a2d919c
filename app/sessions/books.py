"""The lorebooks that go with a session: those of its user, of the persona that is played, and of its character."""

from collections.abc import Sequence
from functools import lru_cache, partial

from app.errors import InvalidRequestError, quoted
from app.store.lorebooks import LorebookRecord, LorebookStore
from characters.card import EXTENSION, CharacterCard
from characters.lorebook import Lorebook

MAX_BOOKS = 32
# All books of a session together, which keeps copies of them.
MAX_BOOKS_BYTES = 8 * 2**20


async def load_books(lorebooks: LorebookStore, ids: Sequence[str]) -> list[tuple[str, Lorebook]]:
    """The lorebooks of `ids` in their order, each once, by a name that tells it from the others: its id.

    Raises InvalidRequestError for an id that is no lorebook's, and for more than a session can keep.
    """
    wanted = list(dict.fromkeys(ids))
    await check_books(lorebooks, wanted)
    records = await lorebooks.several(wanted)
    size = sum(len(record.book.text) for record in records)
    if size > MAX_BOOKS_BYTES:
        told = f"the lorebooks have {size:,} bytes together; a session keeps at most {MAX_BOOKS_BYTES:,}"
        raise InvalidRequestError(told, param="lorebook_ids", code="lorebooks_too_large")
    return [(record.id, await lorebooks.beside(partial(_read, record))) for record in records]


@lru_cache(maxsize=64)
def _read(record: LorebookRecord) -> Lorebook:
    """The same book each time, so that its rules are compiled once."""
    return record.book.read()


async def check_books(lorebooks: LorebookStore, ids: Sequence[str]) -> None:
    """Raise InvalidRequestError when `ids` are too many, or one is no lorebook's."""
    if len(ids) > MAX_BOOKS:
        told = f"{len(ids)} lorebooks are too many; at most {MAX_BOOKS} go together"
        raise InvalidRequestError(told, param="lorebook_ids", code="too_many_lorebooks")
    known = set(await lorebooks.known(ids))
    unknown = next((book_id for book_id in ids if book_id not in known), None)
    if unknown is not None:
        told = f"there is no lorebook {quoted(unknown)}"
        raise InvalidRequestError(told, param="lorebook_ids", code="lorebook_not_found")


def attached(card: CharacterCard) -> list[str]:
    """The ids of the lorebooks that a card says belong to it; whatever else stands there is no id.

    They may be another server's, so ask `LorebookStore.known` before `load_books`.
    """
    match card.data.extensions.get(EXTENSION):
        case {"lorebooks": list() as listed}:
            return [*dict.fromkeys(item for item in listed if isinstance(item, str) and item)][:MAX_BOOKS]
    return []
