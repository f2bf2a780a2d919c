"""A session's memories, ready to be asked for those that a message brings back."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequestError, quoted
from app.sessions.exchanges import source_of
from app.sessions.message import Message
from app.sessions.session import Session
from app.store.memories import Memories, MemoryRecord
from models.embedding import Vectors
from models.memory.extraction import Kind
from models.memory.keywords import Keywords, words_of
from models.memory.mood import NEUTRAL, Moods, named_mood
from models.memory.passages import is_own, tells_of_self
from models.memory.ranking import LOOKED_AT, Aspects, Weights, best, blend, build_aspects, rank

# Moments that a date can say, in seconds: some days after the year 1 to some before the year 10000.
EARLIEST, LATEST = -62_135_000_000.0, 253_402_000_000.0
# What may be told and what not, one truth value a memory.
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Question:
    """What brings memories back. `vector` is None where only words count, `mood` zeros where it has none."""

    text: str
    vector: Vectors | None = None
    mood: Moods = field(default_factory=lambda: NEUTRAL)


class Recollection:
    """The memories that `embedder` (a model's name, or "") and words find. Slow to ask unless it was made ready."""

    def __init__(self, memories: Memories, embedder: str) -> None:
        self.memories = memories
        self._embedder = embedder
        self._vectors: dict[int, Aspects | None] = {}

    def make_ready(self) -> None:
        """Compute what every question needs."""
        _ = self._keywords, self._words, self._own, self._times, self._moods
        packed = self.memories.vectors
        mine = (record for record in self.memories.records if record.embedder == self._embedder)
        width = next((packed[record.id].size // record.aspects for record in mine if record.id in packed), 0)
        if width:
            self._read_vectors(width)

    def ask(
        self, question: Question, usable: Mask, weights: Weights, *, most: int, now: float | None = None
    ) -> list[tuple[MemoryRecord, float]]:
        """The best of the `usable` memories with their scores, the best first, none of which say the same."""
        if not usable.any():
            return []
        vectors = None if question.vector is None else self._read_vectors(len(question.vector))
        likeness = None if vectors is None or question.vector is None else vectors.likeness(question.vector)
        meaning = blend(likeness, self._keywords.scores(question.text))
        ages = (time.time() if now is None else now) - self._times
        own = self._own if is_own(question.text) else None
        scores = rank(meaning, question.mood, self._moods, ages.astype(np.float32), weights, own=own)
        scores = np.where(usable, scores, np.float32(-np.inf))
        texts = None if vectors is None else vectors.texts
        found = islice(best(scores, texts, self._words, looked_at=max(most, LOOKED_AT)), most)
        return [(self.memories.records[index], float(scores[index])) for index in found]

    def all_of(self, kind: Kind | None = None) -> Mask:
        """Those of a kind, or all."""
        records = self.memories.records
        return np.fromiter((kind in (None, record.kind) for record in records), np.bool_, len(records))

    def usable(self, session: Session, history: Sequence[Message], start: int, whispered: Collection[str] = ()) -> Mask:
        """Those that the next reply to `history` may know: said on this branch, no later than the session's `as_of`.

        What stands in the prompt isn't told again: `history[start:]`, and of what was whispered those ids.
        """
        places: dict[str, int] = {}
        for place, message in enumerate(history):
            places.setdefault(source_of(message), place)
        visible = {
            source_of(message) for place, message in enumerate(history) if stands(message, place, start, whispered)
        }
        until = _limit(session, history)
        told = (record.enabled and _known(record, places, visible, until) for record in self.memories.records)
        return np.fromiter(told, np.bool_, len(self.memories.records))

    @cached_property
    def _keywords(self) -> Keywords:
        return Keywords([record.text for record in self.memories.records])

    @cached_property
    def _words(self) -> list[frozenset[str]]:
        return [frozenset(words_of(record.text)) for record in self.memories.records]

    @cached_property
    def _own(self) -> Mask:
        """What somebody told of themself, and what was noted of it."""
        records = self.memories.records
        own = (record.kind != "said" or tells_of_self(record.text) for record in records)
        return np.fromiter(own, np.bool_, len(records))

    @cached_property
    def _times(self) -> NDArray[np.float64]:
        return np.array([record.at for record in self.memories.records], np.float64)

    @cached_property
    def _moods(self) -> Moods:
        moods = [_mood(record) for record in self.memories.records]
        return np.array(moods, np.float32).reshape(len(moods), len(NEUTRAL))

    def _read_vectors(self, width: int) -> Aspects | None:
        """The vectors of `width` numbers, of nan for a memory that has none of this model; None where no memory has."""
        if width not in self._vectors:
            found = [self._vectors_of(record, width) for record in self.memories.records]
            nothing = np.full((1, width), np.nan, np.float32)
            known = any(rows is not None for rows in found)
            aspects = build_aspects([nothing if rows is None else rows for rows in found]) if known else None
            self._vectors = {width: aspects}
        return self._vectors[width]

    def _vectors_of(self, record: MemoryRecord, width: int) -> Vectors | None:
        packed = self.memories.vectors.get(record.id) if record.embedder == self._embedder else None
        if packed is None or packed.size != record.aspects * width:
            return None
        return packed.reshape(record.aspects, width)


def stands(message: Message, place: int, start: int, whispered: Collection[str]) -> bool:
    """Whether a prompt has message number `place`: a whisper where it is one of those, others from `start` on."""
    return message.id in whispered if message.seen_by else place >= start


def parse_as_of(session: Session, said: float | str | None) -> float | str | None:
    """A session's `as_of`: a time, a date of ISO 8601 (UTC unless it says otherwise), a message's id, or none.

    Raises InvalidRequestError.
    """
    if not isinstance(said, str) or said in session.messages:
        return said
    try:
        moment = datetime.fromisoformat(said)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        told = f"`as_of` is a time, a date, or the id of a message of this session, and not {quoted(said)}"
        raise InvalidRequestError(told, param="as_of") from error


@dataclass(frozen=True, slots=True)
class _Limit:
    """Up to where a character knows: a moment, and a place in the history where a message says it."""

    moment: float
    place: int | None = None


def _limit(session: Session, history: Sequence[Message]) -> _Limit | None:
    if session.as_of is None:
        return None
    if isinstance(session.as_of, float | int):
        return _Limit(session.as_of)
    root = session.root(session.as_of)
    place = next((index for index, message in enumerate(history) if message.root == root), None)
    message = session.messages.get(session.as_of)
    # A message that is gone is no reason to tell what it hid.
    return _Limit(message.created if message else 0.0, place)


def _known(record: MemoryRecord, places: dict[str, int], visible: set[str], until: _Limit | None) -> bool:
    sources = record.sources
    if sources and (visible.issuperset(sources) or not places.keys() >= set(sources)):
        return False
    if until is None:
        return True
    if sources and until.place is not None:
        return max(places[source] for source in sources) <= until.place
    return record.at <= until.moment


def _mood(record: MemoryRecord) -> Moods:
    if record.mood is None and len(record.moods) == len(NEUTRAL):
        return np.array(record.moods, np.float32)
    return named_mood(record.mood)


def tell(record: MemoryRecord, now: datetime) -> str:
    """A memory as a line of the prompt: when it was, and what."""
    then = datetime.fromtimestamp(record.at, now.tzinfo)
    days = (now.date() - then.date()).days
    when = "earlier" if days <= 0 else "yesterday" if days == 1 else f"{then.day} {then:%B %Y}"
    return f"- {when}: {record.text}"
