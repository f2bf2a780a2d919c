"""Hearing a resumable turn that is answered elsewhere, or was: what has been said, then what is said, to its end."""

import logging
import time
from collections.abc import AsyncGenerator

import anyio
import orjson

from app.errors import InvalidRequestError, NotFoundError, UnavailableError
from app.metrics import Metrics
from app.sessions.cancelling import unknown_turn
from app.sessions.logs import DONE
from app.store.sessions import SessionStore
from app.store.streams import Batch, Heard, StreamStore

logger = logging.getLogger(__name__)

# How often one looks for more: sooner while there is.
LEAST_LOOK_S, MOST_LOOK_S = 0.03, 0.25
# A comment keeps proxies from closing a stream that is silent so long.
SILENCE_S = 15.0
COMMENT = b": still answering\n\n"
# How long a turn may be without session and without end before its server counts as gone: it writes the end just after
# it gives the session back. One that has committed gets longer, for what is missing is its end alone.
LOST_S, COMMITTED_S = 0.5, 5.0


class Following:
    """The streams that are followed here, `most` at a time."""

    def __init__(self, streams: StreamStore, sessions: SessionStore, metrics: Metrics, *, most: int) -> None:
        self.streams = streams
        self.sessions = sessions
        self.metrics = metrics
        self._most = most
        self._count = 0

    async def open(self, session_id: str, turn_id: str, after: int) -> "Follower":
        """The frames after number `after`; iterate over `frames`.

        Raises NotFoundError where they aren't kept, InvalidRequestError for a number that the turn never reached, and
        UnavailableError where too many follow.
        """
        if self._count >= self._most:
            raise UnavailableError(f"{self._most} streams are followed: try again", code="overloaded")
        follower = Follower(self, session_id, turn_id, after)
        await follower.begin()
        return follower

    def enter(self) -> None:
        self._count += 1
        self.metrics.followers.inc()

    def leave(self) -> None:
        self._count -= 1
        self.metrics.followers.dec()


class Follower:
    """One reader of one turn. `number` is that of the last frame that it has heard."""

    def __init__(self, following: Following, session_id: str, turn_id: str, after: int) -> None:
        self.number = after
        self._following = following
        self._session_id = session_id
        self._turn_id = turn_id
        self._heard = Heard("running", after)
        self._lost_since: float | None = None

    async def begin(self) -> None:
        """Raises what `Following.open` does."""
        await self._listen()
        if self._heard.state in ("ended", "lost") and self.number > self._heard.last:
            told = f"the turn has {self._heard.last} frames: there is none after number {self.number}"
            raise InvalidRequestError(told, param="starting_after")
        if self._heard.state == "frames":
            self._check_kept()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to hear."""
        return self._heard.state == "ended"

    async def frames(self) -> AsyncGenerator[bytes]:
        """Some frames at a time, and comments. Raises ApiError when the turn's session is erased, or Redis is gone."""
        self._following.enter()
        try:
            pause, silent_since = LEAST_LOOK_S, time.monotonic()
            while not self.is_over:
                if self._heard.state == "frames":
                    yield self._unheard()
                    if self._heard.ends:
                        return
                    pause, silent_since = LEAST_LOOK_S, time.monotonic()
                elif time.monotonic() - silent_since > SILENCE_S:
                    yield COMMENT
                    silent_since = time.monotonic()
                if self._heard.state == "lost":
                    await self._end_lost()
                await anyio.sleep(pause)
                pause = min(MOST_LOOK_S, pause * 1.5)
                await self._listen()
        finally:
            self._following.leave()

    async def _listen(self) -> None:
        self._heard = await self._following.streams.read(self._session_id, self._turn_id, self.number)
        if self._heard.state != "lost":
            self._lost_since = None
        if self._heard.state in ("missing", "unkept"):
            raise await self._missing()

    def _unheard(self) -> bytes:
        """The frames that were read, less those heard before: a batch that was written again holds them, too."""
        self._check_kept()
        frames = self._heard.frames.split(b"\n\n")[:-1]
        told = []
        for frame in frames:
            if (number := _number(frame)) > self.number:
                told.append(frame + b"\n\n")
                self.number = number
        return b"".join(told)

    def _check_kept(self) -> None:
        if _number(self._heard.frames) > self.number + 1:
            raise self._expired(f"the frames after number {self.number} are no longer kept")

    async def _missing(self) -> NotFoundError:
        """Why there is no stream."""
        if self._heard.state == "unkept":
            told = f"the turn {self._turn_id!r} runs without `resumable`: only who began it hears it"
            return NotFoundError(told, code="turn_not_resumable")
        session = await self._following.sessions.get(self._session_id)
        if written := session.written_by(self._turn_id):
            return self._expired(f"no frames are kept of the turn {self._turn_id!r}", written[0].id)
        return unknown_turn(self._session_id, self._turn_id)

    def _expired(self, told: str, message_id: str | None = None) -> NotFoundError:
        named = f"the message {message_id!r}" if message_id else "the session's messages"
        return NotFoundError(f"{told}: read {named} instead", code="stream_expired")

    async def _end_lost(self) -> None:
        """End the turn's stream for who wrote it, once it is clear that nobody does: for all who follow."""
        now = time.monotonic()
        self._lost_since = self._lost_since or now
        if now - self._lost_since < LOST_S:
            return
        session = await self._following.sessions.get(self._session_id)
        written = session.written_by(self._turn_id)
        if written and now - self._lost_since < COMMITTED_S:
            return
        kept = f"what was said is kept as the message {written[0].id!r}" if written else "nothing of the turn is kept"
        error = UnavailableError(f"the server that answered is gone; {kept}", code="turn_lost")
        told = {
            **error.body(),
            "session_id": self._session_id,
            "turn_id": self._turn_id,
            "message_id": written[0].id if written else None,
            "version": session.version,
        }
        last = self._heard.last
        frames = b"id: %d\ndata: %s\n\nid: %d\n%s" % (last + 1, orjson.dumps(told), last + 2, DONE)
        batch = Batch(self._session_id, self._turn_id, last + 2, frames, ends=True)
        if await self._following.streams.end(batch, after=last):
            logger.warning("the turn %s of session %s was lost with its server", self._turn_id, self._session_id)
            self._following.metrics.lost.inc()


def _number(frame: bytes) -> int:
    """The number that a frame begins with."""
    return int(frame[len(b"id: ") : frame.index(b"\n")])
