"""Characters in Redis: a hash of records and a hash of what lists and searches need, in one slot.

The shipped library is planted once: a card of it that the user deletes or changes stays deleted or changed.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis.asyncio import Redis

from app.errors import ConflictError, NotFoundError, PreconditionError, quoted
from app.store.connection import Replies, redis_errors
from app.store.scripts import load_script
from characters.card import CharacterCard

CARDS, INDEX, PLANTED = "oc:{characters}:cards", "oc:{characters}:index", "oc:{characters}:planted"


@dataclass(frozen=True, slots=True)
class CharacterRecord:
    """A stored character. `version` counts its changes from 1.

    `revision` is another at every write, also to an id that was deleted and taken again: the character's ETag.
    """

    id: str
    version: int
    card: CharacterCard
    revision: str = field(default_factory=lambda: secrets.token_hex(8))

    def dumps(self) -> bytes:
        card = self.card.model_dump(exclude_unset=True)
        return orjson.dumps({"id": self.id, "version": self.version, "revision": self.revision, "card": card})

    @classmethod
    def loads(cls, raw: bytes) -> "CharacterRecord":
        value = orjson.loads(raw)
        # Characters of version 0.1.0 have none.
        revision = value.get("revision") or str(value["version"])
        return cls(value["id"], value["version"], CharacterCard.model_validate(value["card"]), revision)


class CharacterStore:
    """All methods raise UnavailableError when Redis doesn't answer."""

    def __init__(self, redis: Redis, *, reserved: str = "") -> None:
        """`reserved` is an id that no character may take: the raw model's, which stands beside them."""
        self._redis: Replies = redis
        self._reserved = reserved
        self._write = redis.register_script(load_script("write_character"))

    async def plant(self, library: Mapping[str, CharacterCard]) -> None:
        """Put each card of the library in place, unless it has been there before."""
        async with redis_errors():
            for character_id, card in library.items():
                if await self._redis.sadd(PLANTED, character_id) and not await self._redis.hexists(CARDS, character_id):
                    await self._put(CharacterRecord(character_id, 1, card), expected="")

    async def create(self, character_id: str, card: CharacterCard) -> CharacterRecord:
        """Raises ConflictError when the id is taken."""
        record = CharacterRecord(character_id, 1, card)
        async with redis_errors():
            if character_id == self._reserved or await self._put(record, expected="") != "ok":
                raise ConflictError(f"there is a character {character_id!r} already", param="id", code="id_taken")
        return record

    async def create_unnamed(self, slug: str, card: CharacterCard) -> CharacterRecord:
        """Create under `slug`, or `slug-2`, `slug-3`, … where that is taken."""
        async with redis_errors():
            for number in range(1, 100_000):
                record = CharacterRecord(slug if number == 1 else f"{slug}-{number}", 1, card)
                if record.id != self._reserved and await self._put(record, expected="") == "ok":
                    return record
        raise ConflictError(f"too many characters are called {slug!r}", param="name", code="id_taken")

    async def get(self, character_id: str) -> CharacterRecord:
        """Raises NotFoundError."""
        async with redis_errors():
            raw = await self._redis.hget(CARDS, character_id)
        if raw is None:
            raise NotFoundError(f"there is no character {quoted(character_id)}", code="character_not_found")
        return CharacterRecord.loads(raw)

    async def replace(self, record: CharacterRecord, card: CharacterCard) -> CharacterRecord:
        """Write `card` over `record`. Raises PreconditionError when somebody else wrote first."""
        changed = CharacterRecord(record.id, record.version + 1, card)
        async with redis_errors():
            outcome = await self._put(changed, expected=record.revision)
        if outcome == "missing":
            raise NotFoundError(f"there is no character {quoted(record.id)}", code="character_not_found")
        if outcome != "ok":
            raise PreconditionError(f"{record.id!r} has changed since version {record.version}: read it again")
        return changed

    async def delete(self, record: CharacterRecord) -> None:
        """Raises PreconditionError when it was changed after `record` was read. Sessions with it go on."""
        async with redis_errors():
            outcome = await self._write(keys=[CARDS, INDEX], args=[record.id, record.revision, ""])
        if outcome == b"conflict":
            raise PreconditionError(f"{record.id!r} has changed since version {record.version}: read it again")

    async def ids(self) -> list[str]:
        """The ids of all characters, sorted."""
        async with redis_errors():
            return sorted(key.decode() for key in await self._redis.hkeys(INDEX))

    async def list(
        self, *, after: str = "", limit: int = 50, query: str = "", tag: str = ""
    ) -> tuple[list[CharacterRecord], str | None]:
        """A page in the order of ids, those after the cursor, and the next cursor (None at the end).

        `query` is looked for in name and id, `tag` must be one of the tags; case doesn't matter.
        """
        async with redis_errors():
            index = await self._redis.hgetall(INDEX)
            matching = sorted(
                key.decode() for key, raw in index.items() if _matches(key.decode(), orjson.loads(raw), query, tag)
            )
            page = [character_id for character_id in matching if character_id > after][: limit + 1]
            shown = page[:limit]
            raws = await self._redis.hmget(CARDS, shown) if shown else []
        records = [CharacterRecord.loads(raw) for raw in raws if raw is not None]
        return records, shown[-1] if len(page) > limit else None

    async def _put(self, record: CharacterRecord, *, expected: str) -> str:
        entry = {"revision": record.revision, "name": record.card.name, "tags": record.card.data.tags}
        outcome: bytes = await self._write(
            keys=[CARDS, INDEX], args=[record.id, expected, record.revision, record.dumps(), orjson.dumps(entry)]
        )
        return outcome.decode()


def _matches(character_id: str, entry: dict[str, Any], query: str, tag: str) -> bool:
    named = query.casefold() in entry["name"].casefold() or query.casefold() in character_id
    return named and (not tag or tag.casefold() in (known.casefold() for known in entry["tags"]))
