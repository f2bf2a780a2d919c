"""Characters in Redis. The shipped library is planted once: a card of it that the user deletes or changes stays
deleted or changed.
"""

import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
from redis.asyncio import Redis

from app.errors import NotFoundError
from app.store.connection import redis_errors
from app.store.files import Files
from app.store.record import NO_FILES, new_revision
from app.store.records import MOST_VERSIONS, Records
from characters.card import CharacterCard, slug
from models.synthesis.bookmark import Bookmark

# Who are called the same: that many are looked at for one whose text was left.
MOST_ALIKE = 50


@dataclass(frozen=True, slots=True)
class CharacterRecord:
    """A stored character, as `Record` says: its card, the digests of its files by path, and what there is to warn of.

    `warnings` are of its import, `lore_warnings` of what its own lorebook can't do. `bookmark` says how far a text was
    read for it.
    """

    id: str
    version: int
    card: CharacterCard
    revision: str = field(default_factory=new_revision)
    updated: float = field(default_factory=time.time)
    files: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    lore_warnings: tuple[str, ...] = ()
    bookmark: Bookmark | None = None

    @property
    def name(self) -> str:
        return self.card.data.name

    @property
    def tags(self) -> list[str]:
        return self.card.data.tags

    def dumps(self) -> bytes:
        card = self.card.model_dump(exclude_unset=True)
        head = {"id": self.id, "version": self.version, "revision": self.revision, "updated": self.updated}
        beside = {"files": dict(self.files), "warnings": self.warnings, "lore_warnings": self.lore_warnings}
        beside |= {"bookmark": asdict(self.bookmark)} if self.bookmark else {}
        return orjson.dumps({**head, "card": card, **{key: item for key, item in beside.items() if item}})

    @classmethod
    def loads(cls, raw: bytes) -> "CharacterRecord":
        value = orjson.loads(raw)
        # Characters of version 0.1.0 have neither.
        revision, updated = value.get("revision") or str(value["version"]), value.get("updated", 0.0)
        card = CharacterCard.model_validate(value["card"])
        warnings, lore_warnings = (tuple(value.get(key, ())) for key in ("warnings", "lore_warnings"))
        bookmark = Bookmark(**value["bookmark"]) if value.get("bookmark") else None
        files = value.get("files", {})
        return cls(value["id"], value["version"], card, revision, updated, files, warnings, lore_warnings, bookmark)


class CharacterStore(Records[CharacterRecord]):
    """The characters' records, and `files`: their pictures and whatever else their cards brought along."""

    def __init__(self, redis: Redis, *, reserved: str = "", most_versions: int = MOST_VERSIONS) -> None:
        """`reserved` is the raw model's id, which stands beside the characters'."""
        super().__init__(
            redis, "characters", CharacterRecord, noun="character", reserved=reserved, most_versions=most_versions
        )
        self.files = Files(redis, self.key("files"))

    async def plant(self, library: Mapping[str, CharacterCard]) -> None:
        """Put each card of the library in place, unless it has been there before; then read the index of all."""
        async with redis_errors():
            # Version 0.1.0 called it so.
            if await self._redis.exists(self.key("cards")):
                await self._redis.renamenx(self.key("cards"), self.key("records"))
            for character_id, card in library.items():
                new = await self._redis.sadd(self.key("planted"), character_id)
                if new and not await self._redis.hexists(self.key("records"), character_id):
                    await self._put(CharacterRecord(character_id, 1, card), NO_FILES)
        await self.refresh()

    async def find_unfinished(self, text: str, name: str) -> CharacterRecord | None:
        """The character of this name for whom the text of this digest was read in part, if there is one.

        Looks among the latest of those who got their ids from the name.
        """
        numbered = re.compile(rf"{re.escape(slug(name))}(-\d+)?")
        alike = [character_id for character_id in await self.ids() if numbered.fullmatch(character_id)]
        for character_id in sorted(alike, key=lambda one: (-len(one), one))[:MOST_ALIKE]:
            with suppress(NotFoundError):
                record = await self.get(character_id)
                mark = record.bookmark
                if record.name == name and mark is not None and mark.text == text and not mark.done:
                    return record
        return None

    def index_entry(self, record: CharacterRecord) -> dict[str, Any]:
        return super().index_entry(record) | {"nickname": record.card.data.nickname or ""}

    def digests(self, record: CharacterRecord) -> Iterable[str]:
        return record.files.values()
