"""Leases: a session is one turn's at a time, and nobody's for ever."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from app.errors import NotFoundError, SessionBusyError, UnavailableError
from app.sessions.session import Session
from app.store.characters import CharacterRecord, CharacterStore
from app.store.connection import connect
from app.store.sessions import SessionStore
from models.renderer import Renderer
from tests.conversations import CARD, exchange, new_session
from tests.fake_engine import FakeEngine, Script
from tests.live import serve_live


@pytest.mark.anyio
async def test_lease_is_for_one_turn(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    assert await sessions.acquire(session.id, "mine") == session
    with pytest.raises(SessionBusyError):
        await sessions.acquire(session.id, "another's")


@pytest.mark.anyio
async def test_lease_asked_for_twice_is_ours(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    assert await sessions.acquire(session.id, "mine") == await sessions.acquire(session.id, "mine")


@pytest.mark.anyio
async def test_lease_of_an_unknown_session_is_not_found(sessions: SessionStore, redis: Redis) -> None:
    with pytest.raises(NotFoundError):
        await sessions.acquire("sess_nowhere", "mine")
    assert await redis.keys("*") == []


@pytest.mark.anyio
async def test_lease_is_taken_by_one_of_many(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    outcomes = await asyncio.gather(
        *(sessions.acquire(session.id, f"lease {number}") for number in range(20)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Session) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, SessionBusyError) for outcome in outcomes) == 19


@pytest.mark.anyio
async def test_lease_is_released_by_its_token_alone(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    await sessions.acquire(session.id, "mine")
    await sessions.release(session.id, "another's")
    with pytest.raises(SessionBusyError):
        await sessions.acquire(session.id, "another's")
    await sessions.release(session.id, "mine")
    await sessions.acquire(session.id, "another's")


@pytest.mark.anyio
async def test_lease_is_renewed_by_its_token_alone(sessions: SessionStore, redis: Redis) -> None:
    session = await sessions.create(new_session())
    await sessions.acquire(session.id, "mine")
    key = f"oc:{{{session.id}}}:lease"
    await redis.pexpire(key, 5000)
    await sessions.renew([(session.id, "another's")])
    assert await redis.pttl(key) <= 5000
    await sessions.renew([(session.id, "mine")])
    assert await redis.pttl(key) > 5000


@pytest.mark.anyio
async def test_leases_are_renewed_over_one_connection(
    sessions: SessionStore, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = [(await sessions.create(new_session())).id for _ in range(20)]
    for session_id in opened:
        await sessions.acquire(session_id, "mine")
        await redis.pexpire(f"oc:{{{session_id}}}:lease", 5000)
    taken = []
    pool: Any = redis.connection_pool
    get_connection = pool.get_connection

    async def count(*arguments: Any) -> Any:
        taken.append(arguments)
        return await get_connection(*arguments)

    monkeypatch.setattr(pool, "get_connection", count)
    await sessions.renew([(session_id, "mine") for session_id in opened])
    assert len(taken) == 1
    assert min([await redis.pttl(f"oc:{{{session_id}}}:lease") for session_id in opened]) > 5000


@pytest.mark.anyio
async def test_lease_that_cannot_be_renewed_leaves_the_others(sessions: SessionStore, redis: Redis) -> None:
    session = await sessions.create(new_session())
    await sessions.acquire(session.id, "mine")
    await redis.pexpire(f"oc:{{{session.id}}}:lease", 5000)
    await redis.rpush("oc:{broken}:lease", "no string")
    with pytest.raises(UnavailableError):
        await sessions.renew([("broken", "mine"), (session.id, "mine")])
    assert await redis.pttl(f"oc:{{{session.id}}}:lease") > 5000


@pytest.mark.anyio
async def test_no_leases_are_renewed(sessions: SessionStore) -> None:
    await sessions.renew([])


@pytest.mark.anyio
@pytest.mark.parametrize("failure", [RuntimeError("a bug"), UnavailableError("no Redis"), TimeoutError()], ids=repr)
async def test_leases_are_kept_through_a_round_that_fails(
    renderer: Renderer, redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    rounds = asyncio.Queue[int]()
    async with serve_live(FakeEngine(renderer, Script(hold_after=1)), redis_url, lease_s=1.0) as live:
        store = live.app.state.turns.sessions
        renew = store.renew

        async def fail_once(leases: list[tuple[str, str]]) -> None:
            rounds.put_nowait(len(leases))
            if rounds.qsize() == 1:
                raise failure
            await renew(leases)

        session = (await live.client.post("/sessions", json={"character_id": "lyra"})).json()["id"]
        turn = asyncio.create_task(live.client.post(f"/sessions/{session}/messages", json={"content": "Hello."}))
        await live.engine.held.wait()
        monkeypatch.setattr(store, "renew", fail_once)
        # Rounds enough for a lease that isn't renewed to run out.
        async with asyncio.timeout(20):
            while rounds.qsize() < 5:
                await asyncio.sleep(0.01)
        assert await redis.exists(f"oc:{{{session}}}:lease")
        live.engine.go.set()
        assert (await turn).json()["version"] == 2


@pytest.mark.anyio
async def test_lease_runs_out(redis: Redis) -> None:
    sessions = SessionStore(redis, lease_s=0.05)
    session = await sessions.create(new_session())
    await sessions.acquire(session.id, "dead")
    while await redis.exists(f"oc:{{{session.id}}}:lease"):
        await asyncio.sleep(0)
    assert await sessions.acquire(session.id, "mine") == session


@pytest.mark.anyio
async def test_commit_gives_the_lease_back(sessions: SessionStore) -> None:
    session = await sessions.acquire((await sessions.create(new_session())).id, "mine")
    added = exchange(session)
    await sessions.commit(session, added, tip=added[-1].id, window=None, lease="mine")
    await sessions.acquire(session.id, "another's")


@pytest.mark.anyio
async def test_commit_leaves_the_lease_of_another(sessions: SessionStore) -> None:
    session = await sessions.acquire((await sessions.create(new_session())).id, "another's")
    added = exchange(session)
    await sessions.commit(session, added, tip=added[-1].id, window=None, lease="mine")
    with pytest.raises(SessionBusyError):
        await sessions.acquire(session.id, "mine")


@pytest.mark.anyio
async def test_store_without_redis_is_unavailable(tmp_path: Path) -> None:
    async with connect(f"unix://{tmp_path}/no.sock") as nowhere:
        sessions, session = SessionStore(nowhere, 30), new_session()
        calls = (
            sessions.create(session),
            sessions.get(session.id),
            sessions.acquire(session.id, "mine"),
            sessions.commit(session, [], tip=None, window=None),
            sessions.release(session.id, "mine"),
            sessions.renew([(session.id, "mine")]),
            sessions.delete(session.id),
            sessions.list(),
            CharacterStore(nowhere).get("odo"),
            CharacterStore(nowhere).search(),
            CharacterStore(nowhere).create(CharacterRecord("odo", 1, CARD)),
        )
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * len(calls)
