"""Embeddings by the real model, and by a server that answers, or doesn't."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.from_thread
import numpy as np
import orjson
import pytest

from app.store.connection import connect
from models.embedding import BATCH, EmbeddingError, LocalEmbedder, RemoteEmbedder, open_local_embedder
from models.memory.mood import ANCHORS, EMOTIONS, mood_name, read_moods
from models.renderer import Renderer
from tests.fake_engine import FakeEngine
from tests.live import Live, serve_live
from tests.memories import memories, open_chat, told

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def loaded() -> Iterator[LocalEmbedder]:
    """MiniLM, once: it takes seconds to import."""
    with anyio.from_thread.start_blocking_portal() as portal:
        embedder = portal.call(open_local_embedder)
        yield embedder
        portal.call(embedder.close)


async def test_likeness_of_vectors_is_that_of_meaning(loaded: LocalEmbedder) -> None:
    dog, puppy, tax = await loaded.embed(["My dog is ill.", "The puppy feels unwell.", "Taxes are due in May."])
    assert dog @ puppy > 0.5 > 0.2 > dog @ tax
    assert [len(vector) for vector in (dog, puppy, tax)] == [await loaded.dimensions()] * 3


async def test_texts_of_many_callers_keep_their_vectors(loaded: LocalEmbedder) -> None:
    texts = [f"Number {number}" for number in range(2 * BATCH + 3)]
    alone = await loaded.embed(texts)
    together = await asyncio.gather(*(loaded.embed([text]) for text in texts))
    assert np.allclose(alone, np.concatenate(together), atol=1e-5)


async def test_caller_who_leaves_takes_nobody_elses_vectors_along(loaded: LocalEmbedder) -> None:
    leaving = [asyncio.create_task(loaded.embed(["Gone"])) for _ in range(8)]
    staying = asyncio.create_task(loaded.embed(["Here"]))
    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()
    assert (await staying).shape == (1, 384)
    assert (await loaded.embed([])).shape == (0, 384)


async def test_text_of_two_megabytes_is_embedded(loaded: LocalEmbedder) -> None:
    assert (await loaded.embed(["long " * 400_000])).shape == (1, 384)


@pytest.mark.parametrize("emotion", EMOTIONS)
async def test_mood_is_read_off_the_meaning(loaded: LocalEmbedder, emotion: str) -> None:
    anchors = await loaded.embed(ANCHORS)
    assert mood_name(read_moods(anchors, anchors)[EMOTIONS.index(emotion)].tolist()) == emotion
    assert mood_name(read_moods(await loaded.embed(["The bus stops at four."]), anchors)[0].tolist()) is None


async def test_model_that_is_not_there_is_named(tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EmbeddingError, match=str(tmp_path)):
        await open_local_embedder(str(tmp_path))


# A server


@asynccontextmanager
async def embeddings_server(*answers: bytes) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives these answers, the last one for ever; its address and what it was asked."""
    asked: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        asked.append(orjson.loads(await reader.readexactly(length)) | {"head": head.decode()})
        answer = answers[min(len(asked), len(answers)) - 1]
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(answer), answer))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1", asked


def vectors(*rows: list[float]) -> bytes:
    return orjson.dumps({"data": [{"index": index, "embedding": row} for index, row in enumerate(rows)]})


async def test_server_is_asked_as_openai_is() -> None:
    async with embeddings_server(vectors([3, 0], [0, 4])) as (url, asked):
        embedder = RemoteEmbedder(url, "small", "secret")
        assert (await embedder.embed(["one", "two"])).tolist() == [[1, 0], [0, 1]]
        assert await embedder.dimensions() == 2
        await embedder.close()
    assert (asked[0]["model"], asked[0]["input"]) == ("small", ["one", "two"])
    assert "post /v1/embeddings" in asked[0]["head"]
    assert "authorization: bearer secret" in asked[0]["head"]


@pytest.mark.parametrize("answer", [b"", b"{}", b"[1]", vectors([0, 0]), vectors([1, 2], [1, 2])])
async def test_server_that_fails_is_left_alone_for_a_while(answer: bytes) -> None:
    async with embeddings_server(answer) as (url, asked):
        embedder = RemoteEmbedder(url, "small")
        for _ in range(3):
            with pytest.raises(EmbeddingError):
                await embedder.embed(["one"])
        await embedder.close()
    assert len(asked) == 1


async def test_server_whose_vectors_change_their_length_fails() -> None:
    async with embeddings_server(vectors([1, 0]), vectors([1, 0, 0])) as (url, _):
        embedder = RemoteEmbedder(url, "small")
        await embedder.embed(["one"])
        with pytest.raises(EmbeddingError, match="3 numbers"):
            await embedder.embed(["one"])
        await embedder.close()


async def test_no_server_is_no_embeddings() -> None:
    embedder = RemoteEmbedder("http://127.0.0.1:9/v1", "small")
    with pytest.raises(EmbeddingError):
        await embedder.dimensions()
    await embedder.close()


# Sessions with one


@pytest.fixture(scope="module")
async def meant(renderer: Renderer, redis_url: str) -> AsyncIterator[Live]:
    """The application with MiniLM."""
    async with serve_live(FakeEngine(renderer), redis_url, embeddings="local") as live:
        yield live


async def test_memory_comes_back_by_its_meaning(meant: Live) -> None:
    path = await open_chat(meant)
    for text in ("I repair church organs for a living.", "I had a bowl of hot soup.", "The market is open."):
        await meant.client.post(f"{path}/memories", json={"text": f"User: {text}"})
    assert "church organs" in (await told(meant, path, "What is my profession?")).splitlines()[1]


async def test_sad_memory_is_sad(meant: Live) -> None:
    path = await open_chat(meant)
    await meant.client.post(f"{path}/memories", json={"text": "User: I cried all night when he died."})
    assert [memory["mood"] for memory in await memories(meant, path)] == ["sadness"]


async def test_memory_brings_its_own_vector(meant: Live) -> None:
    path = await open_chat(meant)
    [vector] = (await meant.app.state.memory.meaning.question("zeppelins")).vector[None].tolist()
    await meant.client.post(f"{path}/memories", json={"text": "Balloons.", "vector": [2 * x for x in vector]})
    [found] = await memories(meant, path, q="zeppelins")
    assert found["score"] > 0.9


@pytest.mark.parametrize(
    ("vector", "told"),
    [([1.0] * 383, "has 383 numbers"), ([0.0] * 384, "no direction"), ([], "0 numbers")],
)
async def test_broken_vector_is_refused(meant: Live, vector: list[float], told: str) -> None:
    path = await open_chat(meant)
    answer = await meant.client.post(f"{path}/memories", json={"text": "x", "vector": vector})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_vector")
    assert told in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == "vector"


async def test_memories_of_another_model_are_found_by_words_until_they_are_embedded_anew(
    meant: Live, redis_url: str
) -> None:
    path = await open_chat(meant)
    session_id, memory = path.rpartition("/")[2], meant.app.state.memory
    await meant.client.post(f"{path}/memories", json={"text": "User: I repair church organs."})
    record, before = await memory.store.get(session_id, (await memories(meant, path))[0]["id"])
    stale = orjson.loads(before) | {"embedder": "other"}
    async with connect(redis_url) as redis:
        await redis.hset(f"oc:{{{session_id}}}:memories", record.id, orjson.dumps(stale))
        await redis.hset(f"oc:{{{session_id}}}:vectors", record.id, np.ones(7, np.float32).tobytes())
        await redis.hset(f"oc:{{{session_id}}}:remembered", "revision", "by hand")
    assert await memories(meant, path, q="church organs") != []
    assert await memories(meant, path, q="musical instruments") == []
    session = await meant.app.state.turns.sessions.get(session_id)
    await memory.remember(session, session.branch())
    assert await memories(meant, path, q="musical instruments") != []
