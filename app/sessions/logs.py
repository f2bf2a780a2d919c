"""The frames of resumable turns on their way to Redis: numbered as they are sent, written in batches, all logs at once.

No turn waits for them. What Redis refuses for a while is kept here and written later; what is too much is let go.
"""

import asyncio
import logging
from collections import deque

from app.errors import UnavailableError
from app.store.streams import Batch, StreamStore

logger = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"
BATCH_S = 0.05
PAUSE_S = 1.0
# Of one turn, in Redis and on the way there.
MOST_BYTES = 8 << 20


class TurnLog:
    """The frames of one turn. `number` is that of the last one; the end is `[DONE]`."""

    def __init__(self, session_id: str, turn_id: str, most_bytes: int = MOST_BYTES) -> None:
        self.number = 0
        self.ended = False
        self.lost = False
        self._session_id = session_id
        self._turn_id = turn_id
        self._most_bytes = most_bytes
        self._unwritten: list[bytes] = []
        self._written: deque[tuple[int, int]] = deque()
        self._bytes = 0

    def add(self, body: bytes) -> bytes:
        """The frames of `body`, each with its number as SSE's `id`."""
        numbered = []
        for frame in body.split(b"\n\n")[:-1]:
            self.number += 1
            numbered.append(b"id: %d\n%s\n\n" % (self.number, frame))
        self.ended = self.ended or body.endswith(DONE)
        told = b"".join(numbered)
        if not self.lost:
            self._unwritten.append(told)
        return told

    def take(self) -> Batch | None:
        """What is to be written, as one batch; the oldest frames are let go where all together are too many."""
        frames = b"".join(self._unwritten)
        if not frames or self.lost:
            return None
        self._unwritten.clear()
        self._written.append((self.number, len(frames)))
        self._bytes += len(frames)
        least = None
        while self._bytes > self._most_bytes and len(self._written) > 1:
            self._bytes -= self._written.popleft()[1]
            least = self._written[0][0]
        return Batch(self._session_id, self._turn_id, self.number, frames, self.ended, least)

    def put_back(self, batch: Batch) -> None:
        """It wasn't written, as far as is known."""
        self._unwritten.insert(0, batch.frames)
        self._bytes -= self._written.pop()[1]
        if sum(map(len, self._unwritten)) > self._most_bytes:
            self.give_up()

    def give_up(self) -> None:
        """Nobody can follow it any more: nothing more is written."""
        self.lost = True
        self._unwritten.clear()


class Logs:
    """The logs of the turns that run here."""

    def __init__(self, streams: StreamStore) -> None:
        self._streams = streams
        self._logs: set[TurnLog] = set()
        self._heard = asyncio.Event()
        self._writing = asyncio.Lock()

    async def open(self, session_id: str, turn_id: str) -> TurnLog | None:
        """A log for a turn; None where the turn hasn't its session any more."""
        if not await self._streams.open(session_id, turn_id):
            return None
        log = TurnLog(session_id, turn_id)
        self._logs.add(log)
        return log

    def add(self, log: TurnLog, body: bytes) -> bytes:
        """Keep the frames of `body`, to be written soon; returns them with their numbers."""
        self._heard.set()
        return log.add(body)

    async def flush(self) -> None:
        """Write what there is now, if Redis answers; later otherwise."""
        try:
            await self._write()
        except UnavailableError as error:
            logger.warning("the end of a turn's frames is written later: %s", error)
            self._heard.set()

    async def keep(self) -> None:
        """Write what there is every `BATCH_S`, for ever: a round that fails is the next one's to make good."""
        while True:
            await self._heard.wait()
            await asyncio.sleep(BATCH_S)
            self._heard.clear()
            try:
                await self._write()
            except Exception as error:  # whatever it is, the other turns' frames depend on the next round
                logger.warning("the frames of %d turns were not written", len(self._logs), exc_info=error)
                await asyncio.sleep(PAUSE_S)
                self._heard.set()

    async def _write(self) -> None:
        async with self._writing:
            taken = [(log, batch) for log in self._logs if (batch := log.take())]
            if not taken:
                return
            try:
                kept = await self._streams.append([batch for _, batch in taken])
            except BaseException:
                for log, batch in taken:
                    log.put_back(batch)
                raise
            for (log, batch), is_kept in zip(taken, kept, strict=True):
                if not is_kept:
                    log.give_up()
                if log.lost or batch.ends:
                    self._logs.discard(log)
