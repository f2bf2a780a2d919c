"""What texts mean, for memories: their vectors and moods, as far as there is an embedder and it answers."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from app.errors import InvalidRequestError
from app.sessions.recollection import Question
from app.store.memories import MemoryRecord, NewMemory
from models.embedding import Embedder, EmbeddingError, Vectors, normalized
from models.memory.mood import ANCHORS, NEUTRAL, Moods, read_moods
from models.memory.passages import aspects

logger = logging.getLogger(__name__)


class Meaning:
    """Reads texts with one embedding model; without any, or while it fails, they are their words alone."""

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._embedder = embedder
        self._anchors: Vectors | None = None

    @property
    def model(self) -> str:
        """The model's name; "" without one."""
        return self._embedder.name if self._embedder else ""

    async def question(self, text: str) -> Question:
        """What a text asks for."""
        vectors, moods = await self._embed([text])
        return Question(text) if vectors is None else Question(text, vectors[0], moods[0])

    async def read(self, records: Sequence[MemoryRecord], marks: Sequence[str] = ()) -> list[NewMemory]:
        """The memories with vectors and moods, as far as there are any, each under its mark."""
        texts = [aspects(record.text) for record in records]
        vectors, moods = await self._embed([text for parts in texts for text in parts])
        marked = marks or [""] * len(records)
        if vectors is None:
            unread = (replace(record, embedder="", aspects=1, moods=()) for record in records)
            return [NewMemory(record, None, mark) for record, mark in zip(unread, marked, strict=True)]
        new, start = [], 0
        for record, parts, mark in zip(records, texts, marked, strict=True):
            felt = moods[start].tolist() if moods[start].any() else ()
            read = replace(record, embedder=self.model, aspects=len(parts), moods=felt)
            new.append(NewMemory(read, vectors[start : start + len(parts)], mark))
            start += len(parts)
        return new

    async def check_vector(self, numbers: Sequence[float], param: str) -> Vectors:
        """The vector at length one. Raises InvalidRequestError for one that can't be compared with the model's."""
        if self._embedder is None:
            told = "this server has no embeddings, and ranks memories by their words: leave `vector` out"
            raise InvalidRequestError(told, param=param, code="no_embeddings")
        try:
            dimensions = await self._embedder.dimensions()
        except EmbeddingError as error:
            told = f"`vector` can't be checked: {error}"
            raise InvalidRequestError(told, param=param, code="no_embeddings") from error
        if len(numbers) != dimensions:
            told = f"`vector` has {len(numbers)} numbers, and those of {self.model} have {dimensions}"
            raise InvalidRequestError(told, param=param, code="invalid_vector")
        try:
            vector: Vectors = normalized(np.array([numbers]))[0]
        except ValueError as error:
            raise InvalidRequestError(f"`vector`: {error}", param=param, code="invalid_vector") from error
        return vector

    async def _embed(self, texts: Sequence[str]) -> tuple[Vectors | None, Moods]:
        neutral = np.tile(NEUTRAL, (len(texts), 1))
        if self._embedder is None or not texts:
            return None, neutral
        try:
            if self._anchors is None:
                self._anchors = await self._embedder.embed(ANCHORS)
            vectors = await self._embedder.embed(texts)
        except EmbeddingError as error:
            logger.warning("memories are ranked by words alone: %s", error)
            return None, neutral
        return vectors, read_moods(vectors, self._anchors)
