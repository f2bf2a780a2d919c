"""Everything that can be done to sessions, in any order, against an oracle that has no store: nothing lost, doubled,
or changed by what was refused.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from app.errors import ConflictError, SessionBusyError, TurnCancelledError
from app.sessions import tree
from app.sessions.ids import new_id
from app.sessions.message import Message
from app.sessions.terms import OnConflict, Terms
from app.sessions.turn import RunningTurn
from models.engine import SamplingParams
from models.renderer import Renderer
from tests.fake_engine import CHUNK, FakeEngine, Script
from tests.live import PATIENCE_S, serve_live
from tests.session_clients import Clients
from tests.session_machine import WORDS
from tests.session_world import SAYS, World, play, take


@pytest.fixture(scope="module")
def world(renderer: Renderer, redis_url: str) -> Iterator[World]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            serve_live(FakeEngine(renderer, Script(says=SAYS), max_model_len=16_384), redis_url, prewarm_below=0)
        ) as live,
    ):
        yield World(portal, live)


class Sessions(Clients):
    """With those of two at once, of servers that die, and of those who come too late."""

    @rule(said=WORDS)
    def speak_to_what_has_moved_on(self, said: str) -> None:
        terms = Terms(self.now.oracle.version - 1)
        with pytest.raises(ConflictError):
            self.call(self.turns.reply, self.now.id, said, SamplingParams(), terms)
        with pytest.raises(ConflictError):
            self.call(self.turns.rearrange, self.now.id, tree.undo, terms)

    @rule(said=WORDS)
    def two_at_once(self, said: str) -> None:
        """The second one is refused, and the first one isn't harmed."""
        [text] = self.world.next_texts(1)

        async def act() -> None:
            first = await self.turns.reply(self.now.id, said, SamplingParams())
            with pytest.raises(SessionBusyError):
                await self.turns.regenerate(self.now.id, SamplingParams())
            with pytest.raises(SessionBusyError):
                await self.turns.rearrange(self.now.id, tree.undo)
            await play(first)

        self.call(act)
        self.now.oracle.reply(said, [text])

    @rule(said=WORDS, chunks=st.integers(0, 1))
    def cancel(self, said: str, chunks: int) -> None:
        """What was spoken stays, and nothing where nothing was; once more, it is the same."""
        [text] = self.world.next_texts(1)

        async def act() -> None:
            async with self.held_up(said, chunks) as (turn, playing):
                assert turn.write is not None
                for _ in range(2):
                    session, written = await self.world.cancelling.cancel(self.now.id, turn.write.turn_id)
                    assert [message.content for message in written] == [text[: CHUNK * chunks]] * chunks
                assert session.version == self.now.oracle.version + chunks
                await self.has_ended(playing, chunks)

        self.call(act)
        if chunks:
            self.now.oracle.reply(said, [text[:CHUNK]])

    @rule(said=WORDS, then=WORDS, chunks=st.integers(0, 1))
    def wait_in_line(self, said: str, then: str, chunks: int) -> None:
        """The second one comes after the first, and a third finds the place taken."""
        first, second = self.world.next_texts(2)

        async def act() -> None:
            async with self.held_up(said, chunks) as (_, playing):
                waiting = asyncio.create_task(self.say(then, "enqueue"))
                await self.until_waited_for()
                with pytest.raises(SessionBusyError):
                    await self.turns.regenerate(self.now.id, SamplingParams(), Terms(on_conflict="enqueue"))
                self.world.live.engine.go.set()
                await playing
                await waiting

        self.call(act)
        self.now.oracle.reply(said, [first])
        self.now.oracle.reply(then, [second])

    @rule(said=WORDS, then=WORDS, chunks=st.integers(0, 1))
    def interrupt(self, said: str, then: str, chunks: int) -> None:
        """The second one comes instead of what the first would have said."""
        first, second = self.world.next_texts(2)

        async def act() -> None:
            async with self.held_up(said, chunks) as (_, playing):
                await self.say(then, "interrupt")
                await self.has_ended(playing, chunks)

        self.call(act)
        if chunks:
            self.now.oracle.reply(said, [first[:CHUNK]])
        self.now.oracle.reply(then, [second])

    @asynccontextmanager
    async def held_up(self, said: str, chunks: int) -> AsyncIterator[tuple[RunningTurn, "asyncio.Task[RunningTurn]"]]:
        """A turn that has said so many chunks, and says no more before the body is over; those that follow do."""
        engine = self.world.live.engine
        whole = engine.script
        engine.script = replace(whole, hold_after=chunks)
        engine.held.clear()
        engine.go.clear()
        turn = await self.turns.reply(self.now.id, said, SamplingParams())
        playing = asyncio.create_task(play(turn))
        await asyncio.wait_for(engine.held.wait(), PATIENCE_S)
        engine.script = whole
        try:
            yield turn, playing
        finally:
            engine.go.set()

    async def say(self, said: str, on_conflict: OnConflict) -> RunningTurn:
        return await take(self.turns.reply(self.now.id, said, SamplingParams(), Terms(on_conflict=on_conflict)))

    async def has_ended(self, playing: "asyncio.Task[RunningTurn]", chunks: int) -> None:
        """That a turn that was stopped is over; one that had said nothing says so."""
        if chunks:
            await playing
        else:
            with pytest.raises(TurnCancelledError):
                await playing

    async def until_waited_for(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not await self.world.live.app.state.redis.exists(f"oc:{{{self.now.id}}}:waiter"):
                await asyncio.sleep(0.001)

    @rule(said=WORDS)
    def die_before_the_commit(self, said: str) -> None:
        """The server of a turn dies: its lease runs out, and nothing was written."""

        async def act() -> None:
            await self.turns.reply(self.now.id, said, SamplingParams())
            await self.run_out()

        self.call(act)

    @rule(said=WORDS)
    def awake_too_late(self, said: str) -> None:
        """A turn whose lease ran out meets a session that has moved on: it writes nothing."""

        async def act() -> None:
            late = await self.turns.reply(self.now.id, said, SamplingParams())
            await self.run_out()
            session = await self.turns.sessions.get(self.now.id)
            other = Message(new_id("msg"), session.tip, "user", "I was first.", [1])
            await self.turns.sessions.commit(session, [other], tip=other.id, window=session.window)
            with pytest.raises(ConflictError):
                await play(late)

        self.call(act)
        self.now.oracle.impersonate("", "I was first.")

    async def run_out(self) -> None:
        await self.world.live.app.state.redis.delete(f"oc:{{{self.now.id}}}:lease")


def test_sessions_are_what_was_done_to_them(world: World) -> None:
    Sessions.world = world
    run_state_machine_as_test(
        Sessions,
        settings=settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[*HealthCheck]),
    )
