"""Sessions in Redis: written in one step or not at all."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from app.errors import ConflictError, NotFoundError
from app.sessions.ids import new_id
from app.sessions.message import Message
from app.sessions.opening import open_session
from app.sessions.session import Session
from app.store.connection import connect
from app.store.known import Known, KnownMessages
from app.store.sessions import SessionStore
from models.scene import UserPersona
from tests.conversations import ODO, RENDERER, exchange, new_session, spoken
from tests.strategies import content


@pytest.mark.anyio
async def test_session_comes_back_as_it_was_written(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    assert await sessions.get(session.id) == session
    assert session.version == 1
    assert spoken(session) == ["Good morning, Mira."]


@given(content, st.lists(st.integers(0, 2**32 - 1), max_size=50))
def test_token_ids_come_back_as_they_were_written(redis_url: str, text: str, token_ids: list[int]) -> None:
    async def write_and_read() -> Message:
        async with connect(redis_url) as redis:
            store = SessionStore(redis, 30)
            session = await store.create(new_session())
            said = Message(new_id("msg"), session.tip, "user", text, token_ids)
            await store.commit(session, [said], tip=said.id, window=None)
            return (await store.get(session.id)).branch()[-1]

    message = asyncio.run(write_and_read())
    assert message.content == text
    assert message.token_ids == token_ids


@pytest.mark.anyio
async def test_commit_appends_and_counts(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    added = exchange(session)
    after = await sessions.commit(session, added, tip=added[-1].id, window=added[0].id)
    assert await sessions.get(session.id) == after
    assert after.version == 2
    assert after.window == added[0].id
    assert spoken(after) == ["Good morning, Mira.", "Hello", "Hello."]


@pytest.mark.anyio
async def test_commit_refuses_a_stale_version(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    first, second = exchange(session, "first"), exchange(session, "second")
    after = await sessions.commit(session, first, tip=first[-1].id, window=None)
    with pytest.raises(ConflictError, match="has moved on since version 1"):
        await sessions.commit(session, second, tip=second[-1].id, window=None)
    assert await sessions.get(session.id) == after


@pytest.mark.anyio
async def test_commit_sent_twice_is_done_once(sessions: SessionStore) -> None:
    session = await sessions.acquire((await sessions.create(new_session())).id, "mine")
    added = exchange(session)
    for _ in range(2):
        after = await sessions.commit(session, added, tip=added[-1].id, window=None, lease="mine")
    assert (after.version, (await sessions.get(session.id)).version) == (2, 2)


@pytest.mark.anyio
async def test_commit_to_a_session_opened_anew_is_refused(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    await sessions.delete(session.id)
    anew = await sessions.create(open_session(ODO, UserPersona(), RENDERER, session_id=session.id))
    added = exchange(session)
    with pytest.raises(NotFoundError):
        await sessions.commit(session, added, tip=added[-1].id, window=None)
    assert await sessions.get(session.id) == anew


@pytest.mark.anyio
async def test_concurrent_commits_have_one_winner(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    rivals = [exchange(session, f"said {number}") for number in range(20)]
    outcomes = await asyncio.gather(
        *(sessions.commit(session, added, tip=added[-1].id, window=None) for added in rivals), return_exceptions=True
    )
    winners = [outcome for outcome in outcomes if isinstance(outcome, Session)]
    assert [await sessions.get(session.id)] == winners
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 19


@pytest.mark.anyio
async def test_commit_to_a_deleted_session_leaves_nothing(sessions: SessionStore, redis: Redis) -> None:
    session = await sessions.create(new_session())
    await sessions.delete(session.id)
    added = exchange(session)
    with pytest.raises(NotFoundError):
        await sessions.commit(session, added, tip=added[-1].id, window=None)
    assert await redis.keys("*") == []


@pytest.mark.anyio
async def test_create_refuses_a_taken_id(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    rival = open_session(ODO, UserPersona(), RENDERER, session_id=session.id)
    with pytest.raises(ConflictError, match="already"):
        await sessions.create(rival)
    assert await sessions.get(session.id) == session


@pytest.mark.anyio
async def test_siblings_are_all_kept(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    added = exchange(session, answer="One.")
    session = await sessions.commit(session, added, tip=added[-1].id, window=None)
    other = Message(new_id("msg"), added[0].id, "assistant", "Two.", [1, 2], "stop")
    await sessions.commit(session, [other], tip=other.id, window=None)
    read = await sessions.get(session.id)
    assert spoken(read)[-1] == "Two."
    assert read.path(added[-1].id)[-1].content == "One."


@pytest.mark.anyio
async def test_delete_erases_every_key(sessions: SessionStore, redis: Redis) -> None:
    session = await sessions.create(new_session())
    await sessions.acquire(session.id, "mine")
    await sessions.delete(session.id)
    assert await redis.keys("*") == []
    with pytest.raises(NotFoundError):
        await sessions.get(session.id)
    with pytest.raises(NotFoundError):
        await sessions.delete(session.id)


@pytest.mark.anyio
async def test_list_pages_from_the_newest(sessions: SessionStore) -> None:
    opened = [(await sessions.create(new_session())).id for _ in range(5)]
    pages, cursor = [], 0
    while True:
        page, following = await sessions.list(offset=cursor, limit=2)
        pages.append([session["id"] for session in page])
        if following is None:
            break
        cursor = following
    assert pages == [opened[:2:-1], opened[2:0:-1], opened[:1]]


# What is known


@pytest.mark.anyio
async def test_messages_are_read_once_until_somebody_else_commits(redis: Redis, sessions: SessionStore) -> None:
    here = SessionStore(redis, 30)
    session = await here.create(new_session())
    first = exchange(session)
    session = await here.commit(session, first, tip=first[-1].id, window=None)
    assert (await here.get(session.id)).messages is session.messages
    assert (await here.acquire(session.id, "mine")).messages is session.messages
    second = exchange(session)
    there = await sessions.commit(await sessions.get(session.id), second, tip=second[-1].id, window=None)
    assert await here.get(session.id) == there


@pytest.mark.anyio
async def test_known_messages_are_those_of_a_commit_and_not_of_a_version(redis: Redis, sessions: SessionStore) -> None:
    here = SessionStore(redis, 30)
    session = await sessions.create(new_session())
    lost, kept = exchange(session, "lost"), exchange(session, "kept")
    await here.commit(session, lost, tip=lost[-1].id, window=None)
    # As after a crash of Redis, which loses its last second.
    await sessions.delete(session.id)
    again = await sessions.create(replace(session, version=0))
    there = await sessions.commit(again, kept, tip=kept[-1].id, window=None)
    assert there.version == 2
    assert await here.get(session.id) == there


def test_what_was_asked_for_longest_ago_is_let_go() -> None:
    known = KnownMessages(most=6)
    for name in ("a", "b", "c"):
        known.keep(name, Known(name.encode(), {"msg": Message("msg", None, "user", name, [])}))
    assert known.find("a").commit == b"a"
    known.keep("d", Known(b"d"))
    assert known.find("a") == Known()
    assert known.find("c").commit == b"c"
    known.keep("e", Known(b"e", dict.fromkeys("1234567", Message("msg", None, "user", "", []))))
    assert known.find("e") == Known()
