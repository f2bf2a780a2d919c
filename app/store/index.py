"""What lists and searches need of all records of a kind, in every process: each asks for what has changed since."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis.asyncio import Redis

from app.store.connection import Replies, redis_errors
from app.store.scripts import load_script

# Ids and entries from which on all ids are sorted anew.
MANY_CHANGES = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """What lists and searches need of a record, case folded. `name` has the nickname on a second line."""

    name: str
    tags: frozenset[str]
    revision: str


class Index:
    """The ids of all records, sorted, and their entries, as of the latest `refresh`."""

    def __init__(self, redis: Redis, keys: Sequence[str]) -> None:
        """`keys` are those of the records, their index, their changes and the last change's number."""
        self.ids: list[str] = []
        self._redis: Replies = redis
        self._keys = keys
        self._since = redis.register_script(load_script("changes_since"))
        self._entries: dict[str, Entry] = {}
        self._seen = -1

    def revision(self, record_id: str) -> str | None:
        """Which one of its writes is the last; None where there is no such record."""
        entry = self._entries.get(record_id)
        return entry.revision if entry else None

    def page(self, after: str, limit: int, query: str, tag: str) -> tuple[list[str], str | None]:
        """A page of the ids behind the cursor, and the next cursor (None at the end).

        `query` is looked for in name and id, `tag` must be one of the tags; case doesn't matter.
        """
        query, tag = query.casefold(), tag.casefold()
        page: list[str] = []
        for record_id in self.ids[bisect_right(self.ids, after) :]:
            entry = self._entries[record_id]
            if (query in entry.name or query in record_id) and (not tag or tag in entry.tags):
                page.append(record_id)
                if len(page) > limit:
                    break
        return page[:limit], page[limit - 1] if len(page) > limit else None

    async def refresh(self) -> None:
        """Bring it up to date: what has changed, or all of it where Redis has gone back in time.

        Raises UnavailableError.
        """
        async with redis_errors():
            changed, count, *pairs = await self._since(keys=self._keys, args=[self._seen])
            whole = changed < self._seen or len(_apply(self._entries, pairs)) != count
            if whole:
                index = await self._redis.hgetall(self._keys[1])
                self._entries = _apply({}, [item for pair in index.items() for item in pair])
        if whole or len(pairs) > MANY_CHANGES:
            self.ids = sorted(self._entries)
        else:
            for record_id in pairs[::2]:
                self._place(record_id.decode())
        self._seen = changed

    def _place(self, record_id: str) -> None:
        """Put the id of a change where it belongs among all, or take it out."""
        at = bisect_left(self.ids, record_id)
        there = at < len(self.ids) and self.ids[at] == record_id
        if record_id in self._entries and not there:
            self.ids.insert(at, record_id)
        elif record_id not in self._entries and there:
            del self.ids[at]


def _apply(entries: dict[str, Entry], pairs: list[bytes | None]) -> dict[str, Entry]:
    """`entries` with those of `pairs` (id, entry or None for one that is gone, …) in place."""
    for record_id, raw in zip(pairs[::2], pairs[1::2], strict=True):
        assert record_id is not None
        if raw is None:
            entries.pop(record_id.decode(), None)
        else:
            entries[record_id.decode()] = _parse_entry(orjson.loads(raw))
    return entries


def _parse_entry(value: Mapping[str, Any]) -> Entry:
    name = "\n".join(value[key] for key in ("name", "nickname") if value.get(key))
    tags = frozenset(tag.casefold() for tag in value["tags"])
    return Entry(name.casefold(), tags, value.get("revision", ""))
