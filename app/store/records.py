"""What is registered, changed and listed by id, in Redis: characters, lorebooks, personas. Each kind in one slot.

Under `oc:{<kind>}`: `:records` (hash of records by id), `:index` (hash of what lists and searches need), `:changes`
(sorted set of ids by the number of their last change), `:changed` (that number), `:versions:<id>` (hash of the records
before, by version, of what the index said of each, by version and `:entry`, and of the digests of its files, by version
and `:files`) and `:files:<id>` (hash of the files that its versions name, by their SHA-256).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Generic

import orjson
from redis.asyncio import Redis

from app.errors import ConflictError, PreconditionError
from app.sessions.receipts import current_operation, own_name
from app.store.connection import Replies, redis_errors
from app.store.history import History, unknown
from app.store.index import Index
from app.store.record import NO_FILES, R, changed, written
from app.store.scripts import load_script

MOST_OF_ONE_NAME = 100_000
# Of records as JSON: a page that would have more ends before, for the event loop reads them all.
MOST_PAGE_BYTES = 2 << 20
# Front-ends send a character's 28 expressions at once: each time around, one of them is first.
MOST_TRIES = 32
MOST_VERSIONS = 100


class Records(Generic[R]):
    """All methods raise UnavailableError when Redis doesn't answer.

    `blobs` are the new files that a record names, by their digests, written in one step with it. `history` has what
    records were before.
    """

    def __init__(
        self,
        redis: Redis,
        kind: str,
        model: type[R],
        *,
        noun: str,
        reserved: str = "",
        most_versions: int = MOST_VERSIONS,
    ) -> None:
        """`kind` names the keys and `noun` what errors call a record; `reserved` is an id that none may take.

        Of the versions of a record, the present one among them, the latest `most_versions` are kept.
        """
        self._redis: Replies = redis
        self._model = model
        self._noun = noun
        self._reserved = reserved
        self._most_versions = most_versions
        self._prefix = f"oc:{{{kind}}}"
        self._write = redis.register_script(load_script("write_record"))
        self._page = redis.register_script(load_script("read_page"))
        self._keys = [self.key(part) for part in ("records", "index", "changes", "changed")]
        self._index = Index(redis, self._keys)
        self.history = History(redis, self.key, model, noun)

    def key(self, part: str) -> str:
        """The key of a part, as the module's docstring names them."""
        return f"{self._prefix}:{part}"

    async def create(self, record: R, blobs: Mapping[str, bytes] = NO_FILES) -> R:
        """Raises ConflictError when the id is taken: by another record than an earlier attempt at this operation's."""
        record = self._own(record)
        if record.id == self._reserved or await self._put(record, blobs) != "ok":
            raise ConflictError(f"there is a {self._noun} {record.id!r} already", param="id", code="id_taken")
        return record

    async def create_unnamed(self, record: R, blobs: Mapping[str, bytes] = NO_FILES) -> R:
        """Create under the record's id, or with `-2`, `-3`, … behind it where that is taken.

        A named operation makes each record once: where an earlier attempt has, that one is returned.
        """
        record = self._own(record)
        await self.refresh()
        for number in range(1, MOST_OF_ONE_NAME):
            record_id = record.id if number == 1 else f"{record.id}-{number}"
            if record_id == self._reserved or self._index.revision(record_id) not in (None, record.revision):
                continue
            numbered = changed(record, id=record_id)
            if await self._put(numbered, blobs) == "ok":
                return numbered
        raise ConflictError(f"too many {self._noun}s are called {record.id!r}", param="name", code="id_taken")

    async def get(self, record_id: str) -> R:
        """Raises NotFoundError."""
        async with redis_errors():
            raw = await self._redis.hget(self.key("records"), record_id)
        if raw is None:
            raise unknown(self._noun, record_id)
        return self._model.loads(raw)

    async def replace(self, record: R, blobs: Mapping[str, bytes] = NO_FILES, **changes: Any) -> R:  # of any field
        """Write `record` with `changes` as its next version. Raises PreconditionError when somebody was faster."""
        return await self._succeed(record, written(record, record.version + 1, **changes), blobs)

    async def note(self, record: R, **changes: Any) -> R:  # of any field
        """Write `record` with `changes` that make no version of their own. Raises PreconditionError as `replace`."""
        return await self._succeed(record, written(record, record.version, **changes))

    async def restore(self, record: R, version: int) -> R:
        """Write what `record` was in `version` as its next one. Raises NotFoundError and PreconditionError."""
        name = own_name(self._prefix, "restore", record.id)
        if name and record.revision == name:
            return record
        before = await self.history.read(record, version)
        following = written(before, record.version + 1)
        return await self._succeed(record, changed(following, revision=name) if name else following)

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

    async def delete(self, record: R) -> None:
        """Erase it, its versions and files. Raises PreconditionError when it was changed after `record` was read."""
        self._check(record, await self._run(record.id, record.revision, ""))

    async def ids(self) -> list[str]:
        """The ids of all, sorted."""
        await self.refresh()
        return list(self._index.ids)

    async def search(
        self, *, after: str = "", limit: int = 50, query: str = "", tag: str = ""
    ) -> tuple[list[R], str | None]:
        """A page of `search_ids` as records. Large ones make it shorter than `limit`."""
        shown, following = await self.search_ids(after=after, limit=limit, query=query, tag=tag)
        async with redis_errors():
            raws = await self._page(keys=[self.key("records")], args=[MOST_PAGE_BYTES, *shown]) if shown else []
        if len(raws) < len(shown):
            following = shown[len(raws) - 1]
        return [self._model.loads(raw) for raw in raws if raw is not None], following

    async def search_ids(
        self, *, after: str = "", limit: int = 50, query: str = "", tag: str = ""
    ) -> tuple[list[str], str | None]:
        """A page in the order of ids, as `Index.page` finds it, and the next cursor (None at the end)."""
        await self.refresh()
        return self._index.page(after, limit, query, tag)

    async def refresh(self) -> None:
        """Bring this process's index up to date."""
        await self._index.refresh()

    def index_entry(self, record: R) -> dict[str, Any]:
        """What stands in the index: what the script and searches need of a record, and what lists show without it."""
        head = {"revision": record.revision, "version": record.version, "updated": int(record.updated)}
        return {**head, "name": record.name, "tags": record.tags}

    def digests(self, record: R) -> Iterable[str]:  # noqa: ARG002 of kinds that have files
        """Of the files that it names."""
        return ()

    def _own(self, record: R) -> R:
        """The record, at a revision by which a named operation knows that it has written just this."""
        if current_operation() is None:
            return record
        said = changed(record, revision="", updated=0.0).dumps().decode()
        return changed(record, revision=own_name(self._prefix, said))

    async def _succeed(self, record: R, following: R, blobs: Mapping[str, bytes] = NO_FILES) -> R:
        self._check(record, await self._put(following, blobs, record))
        return following

    async def _put(self, record: R, blobs: Mapping[str, bytes], before: R | None = None) -> str:
        """Write `record` in the place of the one `before`, or of none."""
        entry = orjson.dumps(self.index_entry(record))
        named = [" ".join(sorted(set(self.digests(one)))) if one else "" for one in (record, before)]
        files = [part for file in blobs.items() for part in file]
        expected = before.revision if before else ""
        return await self._run(
            record.id, expected, record.revision, record.dumps(), entry, str(self._most_versions), *named, *files
        )

    async def _run(self, record_id: str, *arguments: str | bytes) -> str:
        async with redis_errors():
            keys = [*self._keys, self.key(f"versions:{record_id}"), self.key(f"files:{record_id}")]
            outcome: bytes = await self._write(keys=keys, args=[record_id, *arguments])
        return outcome.decode()

    def _check(self, record: R, outcome: str) -> None:
        if outcome == "missing":
            raise unknown(self._noun, record.id)
        if outcome != "ok":
            raise PreconditionError(f"{record.id!r} has changed since version {record.version}: read it again")
