"""Cuts that are planned between turns, what leaves by them remembered before it does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from app.sessions.message import Message
from app.sessions.session import Cut, Session
from app.store.sessions import SessionStore
from tests.cuts import Memory, metric, read_session, remember_with, talk_until_cut
from tests.fake_engine import Script
from tests.live import Live
from tests.memories import LINE, open_chat, rest, say, wait_for

pytestmark = pytest.mark.anyio


@pytest.fixture
async def live(live: Live) -> Live:
    """The application, at work as soon as a turn has ended."""
    live.app.state.turns.afterwards.pause_s = 0.0
    return live


@pytest.fixture
async def memory(live: Live) -> AsyncIterator[Memory]:
    """What the application remembers with."""
    with remember_with(live) as memory:
        yield memory


def begins_with(prompt: Sequence[int], beginnings: Sequence[list[int]]) -> bool:
    return any(prompt[: len(ids)] == ids for ids in beginnings)


async def test_turn_that_cuts_finds_its_prompt_read(live: Live) -> None:
    path = await open_chat(live)
    for _ in range(2):
        prompt = await talk_until_cut(live, path)
        assert begins_with(prompt, [ids for ids in live.engine.prefilled if len(ids) > 600])
    assert await metric(live, 'history_cuts_total{kind="planned"}') == 2
    assert await metric(live, 'history_cuts_total{kind="unplanned"}') == 0


async def test_each_prompt_begins_with_the_one_before_but_for_a_cut(live: Live, memory: Memory) -> None:
    path = await open_chat(live)
    await talk_until_cut(live, path)
    for _ in range(2):
        await rest(live)
        await say(live, path)
    before, after = live.engine.prompts[-2:]
    assert after[: len(before)] == before


async def test_what_leaves_is_remembered_once_and_nothing_else(live: Live, memory: Memory, redis: Redis) -> None:
    path = await open_chat(live)
    for _ in range(2):
        await talk_until_cut(live, path)
    session = await read_session(redis, path)
    branch = [message.id for message in session.branch()]
    assert session.window is not None
    assert memory.remembered == branch[: branch.index(session.window)]


async def test_what_left_unplanned_is_remembered(live: Live, memory: Memory, redis: Redis) -> None:
    path = await open_chat(live)
    memory.go.clear()
    await talk_until_cut(live, path, resting=False)
    memory.go.set()
    await rest(live)
    session = await read_session(redis, path)
    branch = [message.id for message in session.branch()]
    assert session.window is not None
    assert set(branch[: branch.index(session.window)]) <= set(memory.remembered)
    assert await metric(live, 'history_cuts_total{kind="unplanned"}') == 1


async def test_plan_that_comes_late_is_there_for_the_turn_after(live: Live, memory: Memory, redis: Redis) -> None:
    path = await open_chat(live)
    memory.go.clear()
    for number in range(40):
        await say(live, path, f"{number} {LINE}")
        await wait_for(lambda: live.app.state.turns.afterwards.pending == memory.asked, "what can be done by now")
        if memory.asked:
            break
    live.engine.script = Script(hold_after=2)
    turn = asyncio.create_task(say(live, path, "A short one."))
    await live.engine.held.wait()
    memory.go.set()
    await rest(live)
    assert (await read_session(redis, path)).planned is None
    live.engine.go.set()
    await turn
    await rest(live)
    planned = (await read_session(redis, path)).planned
    assert planned is not None
    assert planned.recap == memory.told
    assert memory.asked == 1


async def test_server_that_stops_ends_all_that_is_remembered(live: Live) -> None:
    ended: list[int] = []
    begun: list[int] = []

    async def remember(_: Session, leaving: Sequence[Message]) -> str:
        begun.append(len(leaving))
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(len(leaving))
        return ""

    afterwards = live.app.state.turns.afterwards
    afterwards.remember = remember
    path = await open_chat(live)
    for number in range(40):
        await say(live, path, f"{number} {LINE}")
        await wait_for(lambda: afterwards.pending == len(begun), "what can be done by now")
        if begun:
            break
    await say(live, path, "A turn that waits for it.")
    await afterwards.close()
    assert ended == begun


async def test_memory_that_fails_costs_no_turn(live: Live) -> None:
    async def fail(session: Session, leaving: Sequence[Message]) -> str:
        raise RuntimeError("a bug")

    live.app.state.turns.afterwards.remember = fail
    await talk_until_cut(live, await open_chat(live))


# Plans in the store


async def test_plan_is_kept_and_changes_no_version(live: Live, sessions: SessionStore) -> None:
    session = await sessions.get((await open_chat(live)).rpartition("/")[2])
    planned = Cut(str(session.tip), "They met.")
    assert await sessions.plan(session, planned)
    assert await sessions.get(session.id) == replace(session, planned=planned)


async def test_plan_for_a_session_that_moved_on_is_dropped(live: Live, sessions: SessionStore) -> None:
    path = await open_chat(live)
    before = await sessions.get(path.rpartition("/")[2])
    await say(live, path)
    assert not await sessions.plan(before, Cut(str(before.tip)))
    assert (await sessions.get(before.id)).planned is None


async def test_plan_for_a_session_that_is_gone_is_dropped(live: Live, sessions: SessionStore, redis: Redis) -> None:
    path = await open_chat(live)
    session = await sessions.get(path.rpartition("/")[2])
    await live.client.delete(path)
    assert not await sessions.plan(session, Cut(str(session.tip)))
    assert await redis.keys(f"*{session.id}*") == []


async def test_plan_of_a_branch_that_was_left_is_not_followed(live: Live, memory: Memory, redis: Redis) -> None:
    path = await open_chat(live)
    store = SessionStore(redis, 15)
    await say(live, path, LINE)
    session = await read_session(redis, path)
    assert await store.plan(session, Cut("msg_of_nobody", "Nothing of this."))
    await talk_until_cut(live, path, resting=False)
    assert "Nothing of this." not in live.engine.renderer.decode(live.engine.prompts[-1])
