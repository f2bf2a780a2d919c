"""What is registered, changed and listed by id, in Redis: characters, lorebooks, personas. Each kind in one slot.

Under `oc:{<kind>}`: `:records` (hash of records by id), `:index` (hash of what lists and searches need), `:changes`
(sorted set of ids by the number of their last change), `:changed` (that number), `:versions:<id>` (hash of the records
before, by version, and of what the index said of each, by version and `:entry`) and `:files:<id>` (hash of the files
that its versions name, by their SHA-256). Every process keeps the index and asks for what has changed since.
"""

import secrets
import time
from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Generic, Protocol, Self, TypeVar

import orjson
from redis.asyncio import Redis

from app.errors import ConflictError, NotFoundError, PreconditionError, quoted
from app.store.connection import Replies, redis_errors
from app.store.scripts import load_script

MOST_OF_ONE_NAME = 100_000
# Ids and entries from which on all ids are sorted anew.
MANY_CHANGES = 256
# Of records as JSON: a page that would have more ends before, for the event loop reads them all.
MOST_PAGE_BYTES = 2 << 20
# Front-ends send a character's 28 expressions at once: each time around, one of them is first.
MOST_TRIES = 32
NO_FILES: Mapping[str, bytes] = MappingProxyType({})


class Record(Protocol):
    """A frozen dataclass. `version` counts its changes from 1; `revision` is another at every write: its ETag."""

    @property
    def id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def revision(self) -> str: ...
    @property
    def updated(self) -> float: ...
    @property
    def name(self) -> str: ...
    @property
    def tags(self) -> list[str]: ...

    def dumps(self) -> bytes: ...
    @classmethod
    def loads(cls, raw: bytes) -> Self: ...


R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Entry:
    """What lists and searches need of a record, case folded. `name` has the nickname on a second line."""

    name: str
    tags: frozenset[str]


def new_revision() -> str:
    """Another at every write, also to an id that was deleted and taken again."""
    return secrets.token_hex(8)


class Records(Generic[R]):
    """All methods raise UnavailableError when Redis doesn't answer.

    `blobs` are the new files that a record names, by their digests, written in one step with it.
    """

    def __init__(self, redis: Redis, kind: str, model: type[R], *, noun: str, reserved: str = "") -> None:
        """`kind` names the keys and `noun` what errors call a record; `reserved` is an id that none may take."""
        self._redis: Replies = redis
        self._model = model
        self._noun = noun
        self._reserved = reserved
        self._prefix = f"oc:{{{kind}}}"
        self._write = redis.register_script(load_script("write_record"))
        self._page = redis.register_script(load_script("read_page"))
        self._since = redis.register_script(load_script("changes_since"))
        self._entries: dict[str, Entry] = {}
        self._ids: list[str] = []
        self._seen = -1

    def key(self, part: str) -> str:
        """The key of a part, as the module's docstring names them."""
        return f"{self._prefix}:{part}"

    async def create(self, record: R, blobs: Mapping[str, bytes] = NO_FILES) -> R:
        """Raises ConflictError when the id is taken."""
        if record.id == self._reserved or await self._put(record, blobs, expected="") != "ok":
            raise ConflictError(f"there is a {self._noun} {record.id!r} already", param="id", code="id_taken")
        return record

    async def create_unnamed(self, record: R, blobs: Mapping[str, bytes] = NO_FILES) -> R:
        """Create under the record's id, or with `-2`, `-3`, … behind it where that is taken."""
        await self.refresh()
        for number in range(1, MOST_OF_ONE_NAME):
            record_id = record.id if number == 1 else f"{record.id}-{number}"
            if record_id == self._reserved or record_id in self._entries:
                continue
            numbered = _with(record, id=record_id)
            if await self._put(numbered, blobs, expected="") == "ok":
                return numbered
        raise ConflictError(f"too many {self._noun}s are called {record.id!r}", param="name", code="id_taken")

    async def get(self, record_id: str) -> R:
        """Raises NotFoundError."""
        async with redis_errors():
            raw = await self._redis.hget(self.key("records"), record_id)
        if raw is None:
            raise self._unknown(record_id)
        return self._model.loads(raw)

    async def replace(self, record: R, blobs: Mapping[str, bytes] = NO_FILES, **changes: Any) -> R:  # of any field
        """Write `record` with `changes` as its next version. Raises PreconditionError when somebody was faster."""
        changed = _with(record, **changes, version=record.version + 1, revision=new_revision(), updated=time.time())
        self._check(record, await self._put(changed, blobs, expected=record.revision))
        return changed

    async def rewrite(
        self,
        record_id: str,
        change: Callable[[R], Awaitable[Mapping[str, Any]]],
        blobs: Mapping[str, bytes] = NO_FILES,
        *,
        insist: bool,
    ) -> R:
        """Write the record as it is now with what `change` gives for some fields, as its next version.

        When somebody was faster, whoever insists begins again. Raises NotFoundError, PreconditionError, and whatever
        `change` raises.
        """

        async def once() -> R:
            record = await self.get(record_id)
            return await self.replace(record, blobs, **await change(record))

        for _ in range(MOST_TRIES - 1 if insist else 0):
            with suppress(PreconditionError):
                return await once()
        return await once()

    async def restore(self, record: R, version: int) -> R:
        """Write what `record` was in `version` as its next one. Raises NotFoundError and PreconditionError."""
        before = await self.version(record, version)
        again = _with(before, version=record.version + 1, revision=new_revision(), updated=time.time())
        self._check(record, await self._put(again, NO_FILES, expected=record.revision))
        return again

    async def delete(self, record: R) -> None:
        """Erase it, its versions and files. Raises PreconditionError when it was changed after `record` was read."""
        self._check(record, await self._run(record.id, record.revision, ""))

    async def versions(self, record: R, *, before: int | None = None, limit: int = 50) -> list[R]:
        """The record as it is and as it was, newest first; only versions `before` that one, at most `limit`."""
        newest = record.version if before is None else min(before - 1, record.version)
        numbers = [str(number) for number in range(newest, max(newest - limit, 0), -1) if number < record.version]
        async with redis_errors():
            raws = await self._redis.hmget(self.key(f"versions:{record.id}"), numbers) if numbers else []
        older = [self._model.loads(raw) for raw in raws if raw is not None]
        return [record, *older] if newest == record.version else older

    async def version_entries(
        self, record_id: str, *, before: int | None = None, limit: int = 50
    ) -> list[dict[str, Any]]:  # what `_index_entry` made
        """What the index says of the record's `versions`, or said when they were new. Raises NotFoundError."""
        async with redis_errors():
            raw = await self._redis.hget(self.key("index"), record_id)
            if raw is None:
                raise self._unknown(record_id)
            now = orjson.loads(raw)
            newest = now["version"] if before is None else min(before - 1, now["version"])
            numbers = list(range(min(newest, now["version"] - 1), max(newest - limit, 0), -1))
            fields = [f"{number}:entry" for number in numbers]
            raws = await self._redis.hmget(self.key(f"versions:{record_id}"), fields) if fields else []
        older = [orjson.loads(raw) for raw in raws if raw is not None]
        return [now, *older] if newest == now["version"] else older

    async def version(self, record: R, version: int) -> R:
        """One of `versions`. Raises NotFoundError."""
        if version == record.version:
            return record
        async with redis_errors():
            raw = await self._redis.hget(self.key(f"versions:{record.id}"), str(version))
        if raw is None:
            raise NotFoundError(f"{self._noun} {quoted(record.id)} has no version {version}", code="version_not_found")
        return self._model.loads(raw)

    async def ids(self) -> list[str]:
        """The ids of all, sorted."""
        await self.refresh()
        return list(self._ids)

    async def search(
        self, *, after: str = "", limit: int = 50, query: str = "", tag: str = ""
    ) -> tuple[list[R], str | None]:
        """A page in the order of ids, those after the cursor, and the next cursor (None at the end).

        `query` is looked for in name and id, `tag` must be one of the tags; case doesn't matter. Large records make a
        page shorter than `limit`.
        """
        shown, following = await self.search_ids(after=after, limit=limit, query=query, tag=tag)
        async with redis_errors():
            raws = await self._page(keys=[self.key("records")], args=[MOST_PAGE_BYTES, *shown]) if shown else []
        if len(raws) < len(shown):
            following = shown[len(raws) - 1]
        return [self._model.loads(raw) for raw in raws if raw is not None], following

    async def search_ids(
        self, *, after: str = "", limit: int = 50, query: str = "", tag: str = ""
    ) -> tuple[list[str], str | None]:
        """The same page, ids alone."""
        await self.refresh()
        query, tag = query.casefold(), tag.casefold()
        page: list[str] = []
        for record_id in self._ids[bisect_right(self._ids, after) :]:
            entry = self._entries[record_id]
            if (query in entry.name or query in record_id) and (not tag or tag in entry.tags):
                page.append(record_id)
                if len(page) > limit:
                    break
        return page[:limit], page[limit - 1] if len(page) > limit else None

    async def refresh(self) -> None:
        """Bring this process's index up to date: what has changed, or all of it where Redis has gone back in time."""
        async with redis_errors():
            changed, count, *pairs = await self._since(keys=self._keys(), args=[self._seen])
            whole = changed < self._seen or len(self._apply(self._entries, pairs)) != count
            if whole:
                index = await self._redis.hgetall(self.key("index"))
                self._entries = self._apply({}, [item for pair in index.items() for item in pair])
        if whole or len(pairs) > MANY_CHANGES:
            self._ids = sorted(self._entries)
        else:
            for record_id in pairs[::2]:
                self._place(record_id.decode())
        self._seen = changed

    def _place(self, record_id: str) -> None:
        """Put the id of a change where it belongs among all, or take it out."""
        at = bisect_left(self._ids, record_id)
        there = at < len(self._ids) and self._ids[at] == record_id
        if record_id in self._entries and not there:
            self._ids.insert(at, record_id)
        elif record_id not in self._entries and there:
            del self._ids[at]

    def _apply(self, entries: dict[str, Entry], pairs: list[bytes | None]) -> dict[str, Entry]:
        """`entries` with those of `pairs` (id, entry or None for one that is gone, …) in place."""
        for record_id, raw in zip(pairs[::2], pairs[1::2], strict=True):
            assert record_id is not None
            if raw is None:
                entries.pop(record_id.decode(), None)
            else:
                entries[record_id.decode()] = _parse_entry(orjson.loads(raw))
        return entries

    async def _put(self, record: R, blobs: Mapping[str, bytes], *, expected: str) -> str:
        entry = orjson.dumps(self._index_entry(record))
        files = [part for file in blobs.items() for part in file]
        return await self._run(record.id, expected, record.revision, record.dumps(), entry, *files)

    def _index_entry(self, record: R) -> dict[str, Any]:
        """What stands in the index: what the script and searches need of a record, and what lists show without it."""
        head = {"revision": record.revision, "version": record.version, "updated": int(record.updated)}
        return {**head, "name": record.name, "tags": record.tags}

    async def _run(self, record_id: str, *arguments: str | bytes) -> str:
        async with redis_errors():
            keys = [*self._keys(), self.key(f"versions:{record_id}"), self.key(f"files:{record_id}")]
            outcome: bytes = await self._write(keys=keys, args=[record_id, *arguments])
        return outcome.decode()

    def _keys(self) -> list[str]:
        return [self.key(part) for part in ("records", "index", "changes", "changed")]

    def _check(self, record: R, outcome: str) -> None:
        if outcome == "missing":
            raise self._unknown(record.id)
        if outcome != "ok":
            raise PreconditionError(f"{record.id!r} has changed since version {record.version}: read it again")

    def _unknown(self, record_id: str) -> NotFoundError:
        return NotFoundError(f"there is no {self._noun} {quoted(record_id)}", code=f"{self._noun}_not_found")


def _with(record: R, **changes: Any) -> R:
    """`record`, which is a dataclass, with other values in some fields."""
    changed: R = replace(record, **changes)  # type: ignore[type-var]  # a protocol can't say that it is a dataclass
    return changed


def _parse_entry(value: Mapping[str, Any]) -> Entry:
    name = "\n".join(value[key] for key in ("name", "nickname") if value.get(key))
    return Entry(name.casefold(), frozenset(tag.casefold() for tag in value["tags"]))
