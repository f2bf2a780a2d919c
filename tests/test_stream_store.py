"""The frames of resumable turns on their way to Redis and in it: each once, in order, none after the end."""

from collections.abc import Sequence

import pytest
from redis.asyncio import Redis

from app.sessions.logs import Logs, TurnLog
from app.store.streams import Batch, StreamStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def streams(redis: Redis) -> StreamStore:
    return StreamStore(redis, kept_s=60)


async def test_stream_is_for_who_has_the_session(streams: StreamStore, redis: Redis) -> None:
    assert not await streams.open("tea", "turn_1")
    await redis.set("oc:{tea}:lease", "turn_1")
    assert await streams.open("tea", "turn_1")
    assert await streams.open("tea", "turn_1")
    assert (await streams.read("tea", "turn_1", 0)).state == "running"
    assert (await streams.read("tea", "turn_2", 0)).state == "missing"


async def test_batches_are_written_once_and_never_after_the_end(streams: StreamStore, redis: Redis) -> None:
    await redis.set("oc:{tea}:lease", "turn_1")
    await streams.open("tea", "turn_1")
    first, last = Batch("tea", "turn_1", 2, b"ab"), Batch("tea", "turn_1", 3, b"c", ends=True)
    assert await streams.append([first, first, last, last]) == [True] * 4
    heard = await streams.read("tea", "turn_1", 0)
    assert (heard.frames, heard.last, heard.ends) == (b"abc", 3, True)
    assert await streams.append([Batch("tea", "turn_1", 4, b"d")]) == [False]
    assert (await streams.read("tea", "turn_1", 3)).state == "ended"
    await redis.delete("oc:{tea}:turn:turn_1")
    assert await streams.append([Batch("tea", "turn_1", 5, b"e")]) == [False]
    assert await redis.exists("oc:{tea}:turn:turn_1") == 0


async def test_lost_stream_is_ended_once_and_where_it_was_read_to(streams: StreamStore, redis: Redis) -> None:
    await redis.set("oc:{tea}:lease", "turn_1")
    await streams.open("tea", "turn_1")
    await streams.append([Batch("tea", "turn_1", 2, b"ab")])
    await redis.delete("oc:{tea}:lease")
    assert (await streams.read("tea", "turn_1", 2)).state == "lost"
    end = Batch("tea", "turn_1", 4, b"end", ends=True)
    assert not await streams.end(end, after=1)
    assert (await streams.read("tea", "turn_1", 2)).state == "lost"
    assert await streams.end(end, after=2)
    assert not await streams.end(end, after=2)
    assert (await streams.read("tea", "turn_1", 2)).frames == b"end"
    assert await redis.xlen("oc:{tea}:turn:turn_1") == 3


async def test_frames_that_could_not_be_written_are_written_later(
    streams: StreamStore, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis.set("oc:{tea}:lease", "turn_1")
    logs = Logs(streams)
    log = await logs.open("tea", "turn_1")
    assert log
    logs.add(log, b"data: 1\n\n")
    append = streams.append

    async def fail_late(batches: Sequence[Batch]) -> list[bool]:
        """Written, but the answer is lost."""
        await append(batches)
        raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr(streams, "append", fail_late)
        with pytest.raises(ConnectionError):
            await logs.flush()
    logs.add(log, b"data: 2\n\ndata: [DONE]\n\n")
    await logs.flush()
    heard = await streams.read("tea", "turn_1", 0)
    assert heard.frames == b"id: 1\ndata: 1\n\n" * 2 + b"id: 2\ndata: 2\n\nid: 3\ndata: [DONE]\n\n"
    assert heard.ends


async def test_frames_of_a_log_that_is_too_long_are_let_go_from_the_front() -> None:
    log = TurnLog("tea", "turn_1", most_bytes=60)
    leasts = []
    for number in range(6):
        log.add(b"data: %d\n\n" % number)
        batch = log.take()
        assert batch
        leasts.append(batch.least)
    assert leasts == [None, None, None, None, 2, 3]
    log.add(b"data: " + b"x" * 100 + b"\n\n")
    batch = log.take()
    assert batch
    log.put_back(batch)
    assert log.lost
    assert log.take() is None
