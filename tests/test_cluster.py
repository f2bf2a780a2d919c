"""On a Redis Cluster: everything that is stored has its slot, also while slots move."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis.asyncio import Redis

from app.errors import SessionBusyError, UnavailableError
from app.store.connection import connect, is_cluster
from app.store.durability import DurabilityError, check_durability
from app.store.sessions import SessionStore
from models.renderer import Renderer
from tests.conversations import exchange, new_session
from tests.fake_engine import FakeEngine
from tests.faults import open_session, resume, said
from tests.live import Live, serve_live
from tests.redis_cluster import Cluster, run_cluster
from tests.resumable import begin, cancel, follow, spoken

HELLO = {"content": "Hello."}
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\rIDATx\x9cc\xf8\xcf\xc0\xf0\x1f\x00\x05\x00\x01\xff\x89\x99=\x1d\x00\x00\x00\x00IEND\xaeB`\x82"
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with run_cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture(scope="module")
async def running(renderer: Renderer, cluster: Cluster) -> AsyncIterator[Live]:
    """A server on it."""
    async with serve_live(FakeEngine(renderer), cluster.url) as live:
        yield live


@pytest.fixture
async def redis(cluster: Cluster) -> AsyncIterator[Redis]:
    """A client of the cluster."""
    async with connect(cluster.url) as client:
        yield client


def key_of(session: str) -> str:
    return f"oc:{{{session.rpartition('/')[2]}}}:meta"


@pytest.mark.anyio
async def test_client_is_a_clusters(redis: Redis) -> None:
    assert is_cluster(redis)
    assert await redis.ping()


@pytest.mark.anyio
async def test_server_is_ready(running: Live) -> None:
    assert (await running.client.get("/ready")).status_code == 200


@pytest.mark.anyio
async def test_sessions_live_on_all_nodes(running: Live, cluster: Cluster) -> None:
    sessions = [await open_session(running) for _ in range(12)]
    await asyncio.gather(*(running.client.post(f"{session}/messages", json=HELLO) for session in sessions))
    assert {(await running.client.get(session)).json()["version"] for session in sessions} == {2}
    assert len({cluster.owner(key_of(session)).port for session in sessions}) == 3
    shown = (await running.client.get("/sessions?limit=200")).json()["sessions"]
    assert {f"/sessions/{session['id']}" for session in shown} >= {*sessions}


@pytest.mark.anyio
async def test_tree_is_changed(running: Live) -> None:
    session = await open_session(running)
    client = running.client
    reply = (await client.post(f"{session}/messages", json=HELLO)).json()
    asked = (await client.get(f"{session}/messages")).json()["messages"][1]["id"]
    for answer in (
        await client.post(f"{session}/regenerate", json={}),
        await client.post(f"{session}/continue"),
        await client.post(f"{session}/messages/{reply['message_id']}/select"),
        await client.patch(f"{session}/messages/{asked}", json={"content": "Good evening."}),
        await client.post(f"{session}/undo"),
        await client.put(f"{session}/checkpoints/here"),
        await client.delete(f"{session}/messages/{reply['message_id']}"),
        await client.patch(session, json={"note": {"text": "It rains."}}),
        await client.post(f"{session}/fork"),
    ):
        assert answer.is_success, answer.text


@pytest.mark.anyio
async def test_deleted_session_leaves_nothing(running: Live, cluster: Cluster) -> None:
    session = await open_session(running)
    for key in ("one", "two"):
        headers = {"Idempotency-Key": key}
        assert (await running.client.post(f"{session}/messages", json=HELLO, headers=headers)).status_code == 200
    assert (await running.client.delete(session)).status_code == 204
    assert cluster.keys(f"*{session.rpartition('/')[2]}*") == []
    assert cluster.keys("oc:{operation:*") == []


@pytest.mark.anyio
async def test_request_sent_twice_is_done_once(running: Live) -> None:
    session = await open_session(running)
    first, second = [
        await running.client.post(f"{session}/messages", json=HELLO, headers={"Idempotency-Key": "once"})
        for _ in range(2)
    ]
    assert second.content == first.content
    assert len(await said(running, session)) == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/characters", {"name": "Odo"}),
        ("/lorebooks", {"name": "Harbour", "entries": []}),
        ("/personas", {"name": "Mira"}),
    ],
    ids=["characters", "lorebooks", "personas"],
)
async def test_records_are_kept(running: Live, path: str, body: dict[str, Any]) -> None:
    client = running.client
    made = await client.post(path, json=body)
    place = made.headers["location"]
    assert (await client.get(place)).is_success
    assert (await client.get(path)).text.count(f'"{place.rpartition("/")[2]}"')
    assert (await client.patch(place, json={"name": "Another"})).is_success
    assert (await client.get(f"{place}/versions")).is_success
    assert (await client.delete(place)).is_success
    assert (await client.get(place)).status_code == 404


@pytest.mark.anyio
async def test_files_are_kept_and_erased(running: Live, cluster: Cluster) -> None:
    client = running.client
    place = (await client.post("/characters", json={"name": "Picture"})).headers["location"]
    assert (await client.put(f"{place}/avatar", content=PNG, headers={"content-type": "image/png"})).is_success
    assert (await client.get(f"{place}/avatar")).is_success
    key = f"oc:{{characters}}:files:{place.rpartition('/')[2]}"
    assert cluster.keys(key) == [key]
    await client.delete(place)
    assert cluster.keys(key) == []


@pytest.mark.anyio
async def test_leases_on_all_nodes_are_renewed(redis: Redis, cluster: Cluster) -> None:
    sessions = SessionStore(redis, lease_s=30)
    opened = [(await sessions.create(new_session())).id for _ in range(12)]
    for session_id in opened:
        await sessions.acquire(session_id, "mine")
        await redis.pexpire(f"oc:{{{session_id}}}:lease", 5000)
    await sessions.renew([(session_id, "mine") for session_id in opened])
    assert min([await redis.pttl(f"oc:{{{session_id}}}:lease") for session_id in opened]) > 5000
    with pytest.raises(SessionBusyError):
        await sessions.acquire(opened[0], "another's")


@pytest.mark.anyio
async def test_concurrent_commits_have_one_winner(redis: Redis) -> None:
    sessions = SessionStore(redis, lease_s=30)
    session = await sessions.create(new_session())
    rivals = [exchange(session, f"said {number}") for number in range(8)]
    outcomes = await asyncio.gather(
        *(sessions.commit(session, added, tip=added[-1].id, window=None) for added in rivals), return_exceptions=True
    )
    assert sum(not isinstance(outcome, Exception) for outcome in outcomes) == 1


@pytest.mark.anyio
async def test_session_goes_on_where_it_has_moved_to(running: Live, cluster: Cluster) -> None:
    session = await open_session(running)
    await running.client.post(f"{session}/messages", json=HELLO)
    before = cluster.owner(key_of(session))
    move = cluster.begin_move(key_of(session))
    move.finish()
    answer = await running.client.post(f"{session}/messages", json={"content": "And?"})
    assert (answer.status_code, answer.json()["version"]) == (200, 3)
    assert cluster.owner(key_of(session)) is not before
    assert [message["content"] for message in await said(running, session)][::2] == ["Hello.", "And?"]


@pytest.mark.anyio
async def test_session_on_its_way_is_unavailable_and_unharmed(running: Live, cluster: Cluster) -> None:
    session = await open_session(running)
    await running.client.post(f"{session}/messages", json=HELLO)
    move = cluster.begin_move(key_of(session))
    refused = await running.client.post(f"{session}/messages", json={"content": "Lost?"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
    move.finish()
    answer = await running.client.post(f"{session}/messages", json={"content": "And?"})
    assert (answer.status_code, answer.json()["version"]) == (200, 3)
    assert [message["content"] for message in await said(running, session)][::2] == ["Hello.", "And?"]


@pytest.mark.anyio
async def test_cluster_without_nodes_is_unavailable() -> None:
    async with connect("redis+cluster://127.0.0.1:1,127.0.0.1:2") as nowhere:
        with pytest.raises(UnavailableError):
            await SessionStore(nowhere, 30).get("sess_nowhere")


@pytest.mark.anyio
async def test_settings_of_all_nodes_are_checked(redis: Redis) -> None:
    await check_durability(redis, "everysec")
    with pytest.raises(DurabilityError, match="appendfsync always"):
        await check_durability(redis, "always")
    with pytest.raises(DurabilityError, match="isn't for clusters"):
        await check_durability(redis, "replicated")


@pytest.mark.anyio
async def test_turns_are_followed_and_cancelled_on_all_nodes(running: Live) -> None:
    sessions = [await open_session(running) for _ in range(6)]
    turns = await asyncio.gather(*(begin(running, session) for session in sessions))
    try:
        told = await asyncio.gather(*(cancel(running, turn.path) for turn in turns))
        assert [answer.json()["finish_reason"] for answer in told] == ["interrupted"] * 6
        texts = await asyncio.gather(*(follow(running, turn) for turn in turns))
        assert [spoken(text) for text in texts] == ["word0 word1 word2 "] * 6
        assert {(await running.client.delete(session)).status_code for session in sessions} == {204}
    finally:
        resume(running)
