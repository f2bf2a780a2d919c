"""The server that answers is killed or stopped: who follows the turn elsewhere is told its end."""

import asyncio
import json
import time
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from app.sessions import following
from app.store.connection import connect
from app.store.embedded import embedded_redis
from app.store.streams import Batch, StreamStore
from models.renderer import Renderer
from tests.conftest import FAKE, Server, run_server, wait_until
from tests.fake_engine import FakeEngine
from tests.faults import gauge, open_session, said
from tests.live import serve_live
from tests.processes import LEASE_S, Listener, create, listening, script, stored
from tests.resumable import Begun, ending, follow, numbers, payloads, spoken

# What a loaded machine takes beside the lease.
SLACK_S = 2.0


def begun(listener: Listener, session: str) -> Begun:
    """The turn that a client in a thread hears."""
    first = json.loads(listener.lines[1].removeprefix("data: "))
    return Begun(session, first["turn_id"], "", 0)


@pytest.mark.anyio
async def test_turn_of_a_killed_server_ends_within_its_lease(
    tmp_path: Path, renderer: Renderer, redis: Redis, redis_url: str
) -> None:
    async with serve_live(FakeEngine(renderer), redis_url, lease_s=LEASE_S) as other:
        endless = script(words=5000, gap_s=0.02)
        with run_server(tmp_path, FAKE, endless, redis_url=redis_url, lease_s=str(LEASE_S)) as owner:
            session = await asyncio.to_thread(create, owner)
            with listening(owner, session, resumable=True) as [listener]:
                turn = begun(listener, session)
                readers = [asyncio.create_task(follow(other, turn)) for _ in range(2)]
                frames = f"oc:{{{session.rpartition('/')[2]}}}:turn:{turn.turn_id}"
                async with asyncio.timeout(10):
                    while gauge(other, "streams_followed") < 2 or await redis.xlen(frames) < 4:
                        await asyncio.sleep(0.01)
                owner.kill()
                killed = time.monotonic()
                one, two = await asyncio.gather(*readers)
                assert time.monotonic() - killed < LEASE_S + SLACK_S
        assert one == two == await follow(other, turn)
        assert numbers(one) == list(range(1, len(numbers(one)) + 1))
        assert spoken(one).startswith("word0 word1 ")
        told = ending(one)
        assert told["error"]["code"] == "turn_lost"
        assert (told["turn_id"], told["message_id"], told["version"]) == (turn.turn_id, None, 1)
        assert await said(other, session) == []
        answer = await other.client.post(f"{session}/messages", json={"content": "Hello."})
        assert answer.json()["version"] == 2
        assert gauge(other, "turns_lost_total") == 1


@pytest.mark.anyio
async def test_turn_whose_end_alone_was_lost_names_its_message(
    renderer: Renderer, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOST_S", 0.0)
    monkeypatch.setattr(following, "COMMITTED_S", 0.1)
    async with serve_live(FakeEngine(renderer), redis_url) as live:
        session = await open_session(live)
        turn = (await live.client.post(f"{session}/messages", json={"content": "Hello."})).json()
        # As a server leaves it that dies between its commit and the end of the stream.
        session_id, turn_id = turn["session_id"], turn["turn_id"]
        lease, streams = f"oc:{{{session_id}}}:lease", StreamStore(redis, 60)
        await redis.set(lease, turn_id)
        await streams.open(session_id, turn_id)
        await streams.append([Batch(session_id, turn_id, 1, b'id: 1\ndata: {"choices":[]}\n\n')])
        await redis.delete(lease)
        told = payloads(await follow(live, Begun(session, turn_id, "", 0)))
        assert [set(frame) for frame in told[:-1]] == [{"choices"}]
        assert told[-1]["error"]["code"] == "turn_lost"
        assert (told[-1]["message_id"], told[-1]["version"]) == (turn["message_id"], 2)
        assert turn["message_id"] in told[-1]["error"]["message"]


def test_stopped_server_ends_its_turns_without_clients_first(tmp_path: Path) -> None:
    with run_server(tmp_path, FAKE, script(words=60, gap_s=0.02)) as server:
        session = create(server)
        turn = begin_and_go(server, session)
        wait_until(lambda: "opencharacter_turns_detached 1.0" in metrics(server), "the turn goes on alone")
        assert server.stop() == 0
    reply = stored(tmp_path, session)[0].branch()[-1]
    assert (reply.finish_reason, reply.turn_id) == ("stop", turn.turn_id)
    assert asyncio.run(read_end(tmp_path, turn)).endswith(b"data: [DONE]\n\n")


def begin_and_go(server: Server, session: str) -> Begun:
    body = {"content": "Hello.", "stream": True, "resumable": True}
    with httpx.stream("POST", f"{server.url}{session}/messages", json=body, verify=False) as answer:
        pieces = answer.iter_text()
        while "word1 " not in next(pieces):
            pass
    return Begun(session, answer.headers["x-turn-id"], "", 0)


def metrics(server: Server) -> str:
    return httpx.get(f"{server.url}/metrics", verify=False).text


async def read_end(data_dir: Path, turn: Begun) -> bytes:
    """The last frames that a stopped server has kept of a turn."""
    async with embedded_redis(data_dir / "redis") as url, connect(url) as redis:
        heard = await StreamStore(redis, 60).read(turn.session.rpartition("/")[2], turn.turn_id, 0)
        while not heard.ends:
            heard = await StreamStore(redis, 60).read(turn.session.rpartition("/")[2], turn.turn_id, heard.last)
    return heard.frames
