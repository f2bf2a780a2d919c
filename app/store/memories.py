"""Memories in Redis, in their session's slot: what is remembered of it, and of which messages that was done already.

Under `oc:{<session>}`: `:memories` (hash of JSON by memory id), `:vectors` (hash of packed float32 by memory id) and
`:remembered` (hash: marks of what was remembered, what is told of messages that left the prompt, and `revision`, which
is another after every write).
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import anyio.to_thread
import numpy as np
import orjson
from redis.asyncio import Redis

from app.errors import ConflictError, NotFoundError, quoted
from app.store.connection import Replies, redis_errors
from app.store.keys import session_key, unknown_session
from app.store.scripts import load_script
from models.embedding import Vectors
from models.memory.extraction import Kind
from models.memory.mood import Emotion

# Of a session. What was said stays in its messages when its memory is dropped.
MOST_MEMORIES = 5000
# Larger ones are read beside the event loop.
_LARGE = 200
_PARTS = ("meta", "memories", "vectors", "remembered")
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """One memory. `at` is when it happened; `mood` one emotion, or None where `moods` says it in eight numbers.

    `sources` are digests of the messages that it comes from: it is known where those were said, and everywhere without
    any. `message_ids` are the first messages that said it. `embedder` names the model of its vectors, of which it has
    `aspects`: one of its text, then some of its sentences.
    """

    id: str
    text: str
    kind: Kind = "note"
    at: float = field(default_factory=time.time)
    mood: Emotion | None = None
    moods: Sequence[float] = ()
    enabled: bool = True
    sources: Sequence[str] = ()
    message_ids: Sequence[str] = ()
    embedder: str = ""
    aspects: int = 1
    created: float = field(default_factory=time.time)

    def dumps(self) -> bytes:
        return orjson.dumps(asdict(self))

    @classmethod
    def loads(cls, raw: bytes) -> "MemoryRecord":
        return cls(**orjson.loads(raw))


@dataclass(frozen=True, slots=True)
class NewMemory:
    """A memory to write with its vectors, a row each; those of one `mark` are written once, and with "" always."""

    record: MemoryRecord
    vectors: Vectors | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Memories:
    """All memories of a session, oldest first, as of `revision`; `marks` with what they say.

    `vectors` are by the memories' ids, those of one memory one after another.
    """

    revision: str = UNKNOWN
    records: Sequence[MemoryRecord] = ()
    vectors: Mapping[str, Vectors] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)


class MemoryStore:
    """All methods raise UnavailableError when Redis doesn't answer, and NotFoundError for a session that is gone."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Replies = redis
        self._read = redis.register_script(load_script("read_memories"))
        self._write = redis.register_script(load_script("write_memories"))
        self._change = redis.register_script(load_script("change_memory"))

    async def read(self, session_id: str, known: Memories = Memories()) -> Memories:
        """The session's memories as they are now: `known` where nothing was written since."""
        async with redis_errors():
            outcome, *parts = await self._read(keys=_keys(session_id), args=[known.revision])
        if outcome == b"missing":
            raise unknown_session(session_id)
        if outcome == b"same":
            return known
        revision, records, *others = parts
        if len(records) > 2 * _LARGE:
            return await anyio.to_thread.run_sync(_load, revision, records, *others)
        return _load(revision, records, *others)

    async def get(self, session_id: str, memory_id: str) -> tuple[MemoryRecord, bytes]:
        """A memory, and the JSON by which `replace` knows it again. Raises NotFoundError."""
        async with redis_errors():
            raw = await self._redis.hget(_keys(session_id)[1], memory_id)
        if raw is None:
            raise _unknown(memory_id)
        return MemoryRecord.loads(raw), raw

    async def write(
        self,
        session_id: str,
        memories: Sequence[NewMemory],
        *,
        created: float | None = None,
        recap: tuple[str, str] = ("", ""),
        dropped: Sequence[str] = (),
    ) -> None:
        """Write memories, and drop others, in one step. `recap` is a field and what is told of the messages it names.

        `created` is when the session was, where it must not have been opened anew since. Raises ConflictError when the
        session would have more than MOST_MEMORIES.
        """
        items = [
            part
            for new in memories
            for part in (
                new.mark,
                new.record.id,
                new.record.dumps(),
                b"" if new.vectors is None else new.vectors.tobytes(),
            )
        ]
        since = "" if created is None else repr(created)
        args = [since, _revision(), MOST_MEMORIES, *recap, len(dropped), *dropped, *items]
        async with redis_errors():
            outcome = await self._write(keys=_keys(session_id), args=args)
        if outcome == b"missing":
            raise unknown_session(session_id)
        if outcome == b"full":
            told = f"a session has at most {MOST_MEMORIES} memories: delete some"
            raise ConflictError(told, code="too_many_memories")

    async def replace(self, session_id: str, before: bytes, record: MemoryRecord, vectors: Vectors | None) -> None:
        """Put `record` in its place, with other vectors. Raises ConflictError when it isn't what it was `before`."""
        await self._put(session_id, record.id, before, record.dumps(), b"" if vectors is None else vectors.tobytes())

    async def amend(self, session_id: str, before: bytes, record: MemoryRecord) -> None:
        """The same, its vectors as they were."""
        await self._put(session_id, record.id, before, record.dumps(), b"=")

    async def delete(self, session_id: str, memory_id: str) -> None:
        """Forget it: it doesn't come back when its messages are remembered again. Raises NotFoundError."""
        _, before = await self.get(session_id, memory_id)
        await self._put(session_id, memory_id, before, b"", b"")

    async def clear(self, session_id: str) -> None:
        """Forget all of them."""
        memories = await self.read(session_id)
        await self.write(session_id, [], dropped=[record.id for record in memories.records])

    async def copy(self, session_id: str, other_id: str) -> None:
        """Let another session, which has none, remember what this one does, and forget what it has forgotten."""
        memories = await self.read(session_id)
        if not memories.marks:
            return
        vectors = memories.vectors
        await self.write(other_id, [NewMemory(record, vectors.get(record.id)) for record in memories.records])
        async with redis_errors():
            await self._redis.hset(_keys(other_id)[3], mapping=dict(memories.marks))

    async def _put(self, session_id: str, memory_id: str, before: bytes, after: bytes, vector: bytes) -> None:
        args: list[str | bytes] = [memory_id, before, after, vector, _revision()]
        async with redis_errors():
            outcome = await self._change(keys=_keys(session_id)[1:], args=args)
        if outcome == b"missing":
            raise _unknown(memory_id)
        if outcome == b"changed":
            raise ConflictError(f"the memory {quoted(memory_id)} has changed meanwhile: read it again")


def _load(revision: bytes, records: list[bytes], vectors: list[bytes], marks: list[bytes]) -> Memories:
    loaded = sorted((MemoryRecord.loads(raw) for raw in records[1::2]), key=lambda record: (record.at, record.id))
    told = {mark.decode(): said.decode() for mark, said in _pairs(marks).items()}
    unpacked = {key.decode(): np.frombuffer(raw, np.float32) for key, raw in _pairs(vectors).items()}
    return Memories(revision.decode(), loaded, unpacked, told)


def _pairs(items: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(items[::2], items[1::2], strict=True))


def _keys(session_id: str) -> list[str]:
    return [session_key(session_id, part) for part in _PARTS]


def _revision() -> str:
    return secrets.token_hex(8)


def _unknown(memory_id: str) -> NotFoundError:
    return NotFoundError(f"there is no memory {quoted(memory_id)}", code="memory_not_found")
