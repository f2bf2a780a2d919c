"""What a session remembers once messages have left its prompt, and what of it a message brings back.

`remember` runs between turns; for `recall` a turn waits some milliseconds.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Any

import anyio.to_thread

from app.errors import NotFoundError, UnavailableError
from app.sessions.exchanges import last_exchange, mark_of
from app.sessions.meaning import Meaning
from app.sessions.message import Message
from app.sessions.notes import Notes
from app.sessions.recollection import Recollection, stands, tell
from app.sessions.remembering import Remembering
from app.sessions.session import Session
from app.sessions.window import RECAP_SHARE, find_start
from app.store.memories import Memories, MemoryRecord, MemoryStore, NewMemory
from models.embedding import Embedder, Vectors
from models.memory.extraction import Kind
from models.memory.outline import CountTokens
from models.memory.passages import FEW_WORDS, asked
from models.memory.ranking import Weights

logger = logging.getLogger(__name__)

# Of the context that recalled memories may take in each turn.
RECALL_SHARE = 1 / 32
# Of what the user says, how much is looked up.
MOST_ASKED = 1000
# Vectors of memories that are held ready, of all sessions together: at 384 numbers each, 75 MB.
MOST_READY = 50_000
# How close in meaning a memory must be for somebody who searches.
LEAST_FOUND = 0.02


@dataclass(frozen=True, slots=True)
class Recall:
    """How much comes back on a turn, and what counts for it."""

    most: int = 3
    tokens: int = 160
    weights: Weights = field(default_factory=Weights)


class Memory:
    """The memories of all sessions on one server. Raises UnavailableError when the store doesn't answer."""

    def __init__(
        self,
        store: MemoryStore,
        count_tokens: CountTokens,
        max_model_len: int,
        *,
        embedder: Embedder | None = None,
        notes: Notes | None = None,
        recall: Recall = Recall(),
    ) -> None:
        self.store = store
        self.meaning = Meaning(embedder)
        self._count_tokens = count_tokens
        self._recall = replace(recall, tokens=min(recall.tokens, int(max_model_len * RECALL_SHARE)))
        self._remembering = Remembering(store, self.meaning, notes, count_tokens, int(max_model_len * RECAP_SHARE))
        self._ready: OrderedDict[str, Recollection] = OrderedDict()
        self._held = 0
        self._catching_up: dict[str, asyncio.Task[None]] = {}

    async def remember(self, session: Session, leaving: Sequence[Message]) -> str:
        """Store what is worth remembering of messages that leave the prompt; returns what is to be told of them there.

        Done twice, it is done once. A session that is gone, or has its memory off, remembers nothing.
        """
        if session.memory == "off" or not leaving:
            return ""
        try:
            known = (await self._recollection(session.id)).memories
            recap = await self._remembering.remember(session, leaving, known)
            await self._make_ready(session.id)
            return recap
        except NotFoundError:  # deleted meanwhile
            return ""

    async def recall(
        self, session: Session, history: Sequence[Message], room_tokens: int, whispered: Collection[str] = ()
    ) -> tuple[str, ...]:
        """The memories, as lines of a prompt, that the last message of `history` brings back, in `room_tokens`: the
        oldest first, so that of what has changed the last word is how it is now.

        `whispered` are the ids of those messages for a few that stand in the prompt.
        """
        if session.memory == "off" or not history:
            return ()
        try:
            recollection = await self._recollection(session.id)
        except NotFoundError:  # not written yet
            return ()
        start = find_start(session, history)
        left = [message for place, message in enumerate(history) if not stands(message, place, start, whispered)]
        self._catch_up(session, left, recollection.memories)
        if not recollection.memories.records:
            return ()
        usable = await anyio.to_thread.run_sync(recollection.usable, session, history, start, whispered)
        if not usable.any():
            return ()
        question = await self.meaning.question(_asked(history))
        now = time.time()
        ask = partial(recollection.ask, question, usable, self._recall.weights, most=self._recall.most, now=now)
        found = await anyio.to_thread.run_sync(ask)
        moment = datetime.fromtimestamp(now).astimezone()
        lines = [(record.at, tell(record, moment)) for record, _ in found]
        return self._fit(lines, min(self._recall.tokens, room_tokens))

    async def search(
        self, session_id: str, text: str, *, most: int, kind: Kind | None = None
    ) -> list[tuple[MemoryRecord, float]]:
        """The memories (of one `kind`) that a text brings back, with their scores, whoever may know them.

        Raises NotFoundError.
        """
        recollection = await self._recollection(session_id)
        question = await self.meaning.question(asked(text))
        weights = replace(self._recall.weights, least_meaning=LEAST_FOUND)
        ask = partial(recollection.ask, question, recollection.all_of(kind), weights, most=most)
        return await anyio.to_thread.run_sync(ask)

    async def all(self, session_id: str) -> Sequence[MemoryRecord]:
        """All memories of a session, oldest first. Raises NotFoundError."""
        return (await self._recollection(session_id)).memories.records

    async def add(self, session_id: str, records: Sequence[MemoryRecord], vectors: Sequence[Vectors | None]) -> None:
        """Store memories that somebody wrote, with their vector where they bring one (of `Meaning.check_vector`).

        Raises NotFoundError, and ConflictError when there are too many.
        """
        given = [
            NewMemory(replace(record, embedder=self.meaning.model), vector)
            for record, vector in zip(records, vectors, strict=True)
            if vector is not None
        ]
        wanting = [record for record, vector in zip(records, vectors, strict=True) if vector is None]
        await self.store.write(session_id, [*given, *await self.meaning.read(wanting)])

    async def change(
        self, session_id: str, before: bytes, record: MemoryRecord, changes: Mapping[str, Any]
    ) -> MemoryRecord:
        """Change fields of the memory that was read as `before`; another text is read anew, and a mood that is given
        stays.

        Raises NotFoundError, and ConflictError when it has changed meanwhile.
        """
        changed = replace(record, **changes)
        if "mood" in changes:
            changed = replace(changed, moods=())
        if changed.text == record.text:
            await self.store.amend(session_id, before, changed)
            return changed
        [new] = await self.meaning.read([changed])
        read = replace(new.record, moods=()) if "mood" in changes else new.record
        await self.store.replace(session_id, before, read, new.vectors)
        return read

    async def close(self) -> None:
        """End what is still being remembered."""
        tasks = list(self._catching_up.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make_ready(self, session_id: str) -> None:
        """Read what was written, and have it ready to be asked: the next turn waits for neither."""
        with suppress(UnavailableError):
            recollection = await self._recollection(session_id)
            await anyio.to_thread.run_sync(recollection.make_ready)

    async def _recollection(self, session_id: str) -> Recollection:
        """The session's memories as they are now, made ready once for as long as nothing is written."""
        ready = self._let_go(session_id)
        memories = await self.store.read(session_id, ready.memories if ready else Memories())
        if ready is None or ready.memories is not memories:
            ready = Recollection(memories, self.meaning.model)
        # Another turn may have made them ready meanwhile.
        self._let_go(session_id)
        self._ready[session_id] = ready
        self._held += _weight(ready)
        while self._held > MOST_READY and len(self._ready) > 1:
            self._let_go(next(iter(self._ready)))
        return ready

    def _let_go(self, session_id: str) -> Recollection | None:
        ready = self._ready.pop(session_id, None)
        self._held -= _weight(ready) if ready else 0
        return ready

    def _catch_up(self, session: Session, before: Sequence[Message], known: Memories) -> None:
        """Remember in the background what has left the prompt unnoticed: before a crash, or as copies of an edit's.

        What leaves is remembered in order, so that the last exchange speaks for those before it.
        """
        last = last_exchange(before)
        if not last or mark_of(last) in known.marks or session.id in self._catching_up:
            return
        task = self._catching_up[session.id] = asyncio.create_task(self._keep(session, before, known))
        task.add_done_callback(lambda _: self._catching_up.pop(session.id, None))

    async def _keep(self, session: Session, before: Sequence[Message], known: Memories) -> None:
        try:
            await self._remembering.keep(session, before, known)
            await self._make_ready(session.id)
        except Exception as error:  # whatever it is, no turn depends on it
            logger.warning("session %s has not remembered what left its prompt", session.id, exc_info=error)

    def _fit(self, lines: Sequence[tuple[float, str]], room_tokens: int) -> tuple[str, ...]:
        """As many of the first lines as fit, by their times."""
        told: list[tuple[float, str]] = []
        for at, line in lines:
            tokens = self._count_tokens(line) + 1
            if tokens <= room_tokens:
                room_tokens -= tokens
                told.append((at, line))
        return tuple(line for _, line in sorted(told, key=itemgetter(0)))


def _weight(ready: Recollection) -> int:
    """What a session counts for: its memories' vectors, and one for itself where it has none."""
    return sum(record.aspects for record in ready.memories.records) + 1


def _asked(history: Sequence[Message]) -> str:
    """What the last message looks up: itself, and where it says little the one before it."""
    said = [message.content for message in history if message.role != "system"]
    text = asked(said[-1])[-MOST_ASKED:] if said else ""
    if len(text.split()) < FEW_WORDS and len(said) > 1:
        return f"{said[-2][-MOST_ASKED:]} {text}"
    return text
