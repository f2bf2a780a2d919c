"""Remembering what leaves the prompt, between turns.

Every exchange is kept word for word, so that nothing depends on the model's eloquence; what the model writes down of
them comes on top.
"""

from collections.abc import Sequence
from dataclasses import replace

from app.errors import NotFoundError
from app.sessions.exchanges import as_said, digest, exchanges, mark_of, source_of
from app.sessions.meaning import Meaning
from app.sessions.message import Message
from app.sessions.notes import Notes
from app.sessions.session import Session
from app.sessions.window import recap_of
from app.store.memories import MOST_MEMORIES, Memories, MemoryRecord, MemoryStore, NewMemory
from models.memory.extraction import Extract
from models.memory.mood import EMOTIONS
from models.memory.outline import CountTokens, outline
from models.memory.passages import passages

# Exchanges that are remembered at once, the latest ones: half a minute of a core.
MOST_AT_ONCE = 1000
# Memories of another embedding model, or of none, that are embedded anew each time.
MOST_RENEWED = 256


class Remembering:
    """Writes memories. What is told of messages that left the prompt takes at most `recap_tokens`."""

    def __init__(
        self, store: MemoryStore, meaning: Meaning, notes: Notes | None, count_tokens: CountTokens, recap_tokens: int
    ) -> None:
        self._store = store
        self._meaning = meaning
        self._notes = notes
        self._count_tokens = count_tokens
        self._recap_tokens = recap_tokens

    async def remember(self, session: Session, leaving: Sequence[Message], known: Memories) -> str:
        """Store what is worth remembering of `leaving`; returns what is to be told of them. Done twice, done once.

        Raises NotFoundError where the session is gone.
        """
        name = f"recap:{digest([source_of(message) for message in leaving])}"
        if name in known.marks:
            return known.marks[name]
        await self.keep(session, leaving, known)
        history = session.path(leaving[-1].id)
        extract = await self._notes.take(session, history, leaving) if self._notes else None
        notes = await self._read_notes(session, leaving, extract, name) if extract else []
        recap = self._recap(session, history, leaving, extract)
        dropped = overflow(await self._store.read(session.id), len(notes))
        await self._store.write(session.id, notes, created=session.created, recap=(name, recap), dropped=dropped)
        return recap

    async def keep(self, session: Session, messages: Sequence[Message], known: Memories) -> None:
        """Remember exchanges word for word, those that aren't yet."""
        groups = [(mark_of(group), group) for group in exchanges(messages)]
        fresh = [(mark, group) for mark, group in groups if mark not in known.marks][-MOST_AT_ONCE:]
        records = [
            (mark, _record(f"{mark}/{number}", text, group))
            for mark, group in fresh
            for number, text in enumerate(passages(as_said(session, group)))
        ][-MOST_MEMORIES:]
        if records:
            new = await self._meaning.read([record for _, record in records], [mark for mark, _ in records])
            dropped = overflow(known, len(new))
            await self._store.write(session.id, new, created=session.created, dropped=dropped)
        await self._renew(session.id, known)

    def _recap(
        self, session: Session, history: Sequence[Message], leaving: Sequence[Message], extract: Extract | None
    ) -> str:
        summary = extract.summary if extract else ""
        if summary and self._count_tokens(summary) <= self._recap_tokens:
            return summary
        before, said = recap_of(session, history), as_said(session, session.shared(leaving))
        return outline(before, said, self._count_tokens, self._recap_tokens)

    async def _read_notes(
        self, session: Session, leaving: Sequence[Message], extract: Extract, mark: str
    ) -> list[NewMemory]:
        records = [
            replace(
                _record(f"{mark}/{number}", note.text, session.shared(leaving)),
                kind=note.kind,
                mood=next((emotion for emotion in EMOTIONS if emotion == note.mood), None),
            )
            for number, note in enumerate(extract.notes)
        ]
        return await self._meaning.read(records, [f"notes:{mark}"] * len(records))

    async def _renew(self, session_id: str, known: Memories) -> None:
        """Embed memories that this model has not embedded, some at a time."""
        stale = [record for record in known.records if record.embedder != self._meaning.model][:MOST_RENEWED]
        if not stale or not self._meaning.model:
            return
        for new in await self._meaning.read(stale):
            if new.vectors is not None:
                await self._put_vectors(session_id, new)

    async def _put_vectors(self, session_id: str, new: NewMemory) -> None:
        try:
            record, before = await self._store.get(session_id, new.record.id)
        except NotFoundError:  # deleted meanwhile
            return
        if record.text == new.record.text:
            read = new.record
            fresh = replace(record, embedder=read.embedder, aspects=read.aspects, moods=read.moods)
            await self._store.replace(session_id, before, fresh, new.vectors)


def overflow(known: Memories, count: int) -> list[str]:
    """The ids of what must go for `count` new memories: the oldest, and what somebody wrote by hand at the last."""
    excess = max(0, len(known.records) + count - MOST_MEMORIES)
    return [record.id for record in sorted(known.records, key=lambda record: record.kind == "note")[:excess]]


def _record(name: str, text: str, messages: Sequence[Message]) -> MemoryRecord:
    said = [message for message in messages if message.role != "system"]
    return MemoryRecord(
        id=f"mem_{digest([name])}",
        text=text,
        kind="said",
        at=said[-1].created,
        sources=[source_of(message) for message in said],
        message_ids=[message.id for message in said],
    )
