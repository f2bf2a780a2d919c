"""Lorebooks in Redis. A book may have megabytes: it stays text here, and is read beside the event loop."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import anyio.to_thread
import orjson
from redis.asyncio import Redis

from app.store.connection import redis_errors
from app.store.record import new_revision
from app.store.records import MOST_VERSIONS, Records
from characters.lorebook import Lorebook

T = TypeVar("T")

# Books that are read at a time: threads take the event loop's turns away.
MOST_READERS = 2
MOST_NAME_CHARACTERS = 200
# What the index keeps for lists.
SHOWN = ("id", "name", "entries", "version", "updated")


@dataclass(frozen=True, slots=True)
class StoredBook:
    """A lorebook as JSON, as it was given; how many entries it has; what had to be changed or can't be carried out."""

    text: bytes
    name: str
    entries: int
    warnings: tuple[str, ...] = ()

    def read(self) -> Lorebook:
        """The book: milliseconds, and a tenth of a second for the largest."""
        return Lorebook.model_validate_json(self.text)


def write_book(book: Lorebook, warnings: Sequence[str] = ()) -> StoredBook:
    """What is kept of `book`."""
    text = orjson.dumps(book.model_dump(exclude_unset=True))
    return StoredBook(text, (book.name or "")[:MOST_NAME_CHARACTERS], len(book.entries), tuple(warnings))


@dataclass(frozen=True, slots=True)
class LorebookSummary:
    """What lists show of a lorebook."""

    id: str
    name: str
    entries: int
    version: int
    updated: int


@dataclass(frozen=True, slots=True)
class LorebookRecord:
    """A stored lorebook, as `Record` says."""

    id: str
    version: int
    book: StoredBook
    revision: str = field(default_factory=new_revision)
    updated: float = field(default_factory=time.time)

    @property
    def name(self) -> str:
        return self.book.name or self.id

    @property
    def tags(self) -> list[str]:
        return []

    def summary(self) -> LorebookSummary:
        return LorebookSummary(self.id, self.name, self.book.entries, self.version, int(self.updated))

    def dumps(self) -> bytes:
        """A line about the book, then the book."""
        head = {
            "id": self.id,
            "version": self.version,
            "revision": self.revision,
            "updated": self.updated,
            "name": self.book.name,
            "entries": self.book.entries,
            "warnings": self.book.warnings,
        }
        return orjson.dumps(head) + b"\n" + self.book.text

    @classmethod
    def loads(cls, raw: bytes) -> "LorebookRecord":
        line, _, text = raw.partition(b"\n")
        head = orjson.loads(line)
        book = StoredBook(text, head["name"], head["entries"], tuple(head["warnings"]))
        return cls(head["id"], head["version"], book, head["revision"], head["updated"])


class LorebookStore(Records[LorebookRecord]):
    """The lorebooks' records."""

    def __init__(self, redis: Redis, *, most_versions: int = MOST_VERSIONS) -> None:
        super().__init__(redis, "lorebooks", LorebookRecord, noun="lorebook", most_versions=most_versions)
        self._readers = anyio.CapacityLimiter(MOST_READERS)

    async def beside(self, function: Callable[[], T]) -> T:
        """What `function`, which reads books, returns or raises, called in one of a few threads."""
        return await anyio.to_thread.run_sync(function, limiter=self._readers)

    async def summaries(
        self, *, after: str = "", limit: int = 50, query: str = ""
    ) -> tuple[list[LorebookSummary], str | None]:
        """`search`, without the books."""
        ids, following = await self.search_ids(after=after, limit=limit, query=query)
        entries = [orjson.loads(raw) for raw in await self._fields("index", ids) if raw is not None]
        return [_summarize(entry) for entry in entries], following

    async def version_summaries(self, lorebook_id: str, *, before: int | None, limit: int) -> list[LorebookSummary]:
        """A page of its history, without the books. Raises NotFoundError."""
        return [_summarize(entry) for entry in await self.history.entries(lorebook_id, before=before, limit=limit)]

    async def known(self, ids: Sequence[str]) -> list[str]:
        """Those of `ids` that are lorebooks."""
        found = zip(ids, await self._fields("index", ids), strict=True)
        return [book_id for book_id, raw in found if raw is not None]

    async def several(self, ids: Sequence[str]) -> list[LorebookRecord]:
        """The lorebooks of `ids`, without those that aren't there."""
        return [LorebookRecord.loads(raw) for raw in await self._fields("records", ids) if raw is not None]

    async def _fields(self, part: str, ids: Sequence[str]) -> list[bytes | None]:
        if not ids:
            return []
        async with redis_errors():
            raws: list[bytes | None] = await self._redis.hmget(self.key(part), ids)
        return raws

    def index_entry(self, record: LorebookRecord) -> dict[str, Any]:
        return super().index_entry(record) | asdict(record.summary())


def _summarize(entry: Mapping[str, Any]) -> LorebookSummary:
    return LorebookSummary(**{name: entry[name] for name in SHOWN})
