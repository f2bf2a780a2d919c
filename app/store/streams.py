"""The frames of resumable turns in Redis, for whoever wants to hear them, on whichever server.

Under `oc:{<session>}`: `:turn:<id>`, a stream of the turn's frames in batches, each entry's id being the number of its
last frame; and by time, in `:turns`, the ids of the turns that have one. All times are Redis's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from app.store.connection import Replies, redis_errors
from app.store.keys import session_key
from app.store.scripts import load_script

# Entries that are read at a time.
MOST_READ = 64

# `ended`: nothing comes any more; `running`: something may; `lost`: whoever wrote it is gone; `unkept`: the turn runs
# and has no stream; `missing`: nothing is known of it.
State = Literal["frames", "ended", "running", "lost", "unkept", "missing"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames of a turn up to number `last`, the last ones of all where it `ends`. Those before `least` are let go."""

    session_id: str
    turn_id: str
    last: int
    frames: bytes
    ends: bool = False
    least: int | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """What was read: frames up to number `last`, or how it stands with the turn, whose last frame that is."""

    state: State
    last: int
    frames: bytes = b""
    ends: bool = False


class StreamStore:
    """Keeps each stream for `kept_s` after its last frame. All methods raise UnavailableError when Redis is away."""

    def __init__(self, redis: Redis, kept_s: float) -> None:
        self._redis: Replies = redis
        self._kept_ms = int(kept_s * 1000)
        self._open = redis.register_script(load_script("open_stream"))
        self._read = redis.register_script(load_script("read_stream"))
        self._append = load_script("append_stream")

    async def open(self, session_id: str, turn_id: str) -> bool:
        """Begin a turn's stream; False where the turn hasn't its session any more."""
        keys = [session_key(session_id, "lease"), *_keys(session_id, turn_id)]
        async with redis_errors():
            return bool(await self._open(keys=keys, args=[turn_id, self._kept_ms]) == b"ok")

    async def append(self, batches: Sequence[Batch]) -> list[bool]:
        """Add them in one pipeline; False for each whose stream is gone, or was ended. What was added stays added."""
        async with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for batch in batches:
                pipeline.eval(self._append, 2, *_keys(batch.session_id, batch.turn_id), *self._arguments(batch))
            return [outcome == b"ok" for outcome in await pipeline.execute()]

    async def end(self, batch: Batch, *, after: int) -> bool:
        """End a stream whose writer is gone, if its last frame is number `after` still. Returns whether this did it."""
        keys = _keys(batch.session_id, batch.turn_id)
        async with redis_errors():
            return bool(await self._redis.eval(self._append, 2, *keys, *self._arguments(batch), after) == b"ok")

    async def read(self, session_id: str, turn_id: str, after: int) -> Heard:
        """The frames after number `after`, some of them where there are many."""
        keys = [session_key(session_id, "lease"), session_key(session_id, f"turn:{turn_id}")]
        async with redis_errors():
            state, last, *told = await self._read(keys=keys, args=[turn_id, after, MOST_READ])
        return Heard(state.decode(), int(last), b"".join(told[1:]), ends=told[:1] == [b"end"])

    def _arguments(self, batch: Batch) -> list[str | int | bytes]:
        least = "" if batch.least is None else batch.least
        return [batch.turn_id, batch.last, batch.frames, "end" if batch.ends else "", self._kept_ms, least]


def _keys(session_id: str, turn_id: str) -> list[str]:
    return [session_key(session_id, f"turn:{turn_id}"), session_key(session_id, "turns")]
