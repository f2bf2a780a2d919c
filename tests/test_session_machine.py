"""Everything that can be done to sessions, in any order, against an oracle that has no store: nothing lost, doubled,
or changed by what was refused.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from app.errors import ApiError, ConflictError, NotFoundError, SessionBusyError
from app.sessions import tree
from app.sessions.receipts import named
from app.sessions.session import Message, Session, new_id, open_session
from app.sessions.terms import Terms
from app.sessions.turn import RunningTurn
from app.sessions.turns import Turns
from models.engine import SamplingParams
from models.renderer import Renderer
from models.scene import UserPersona
from tests.fake_engine import CHUNK, FakeEngine, Script
from tests.live import Live, serve_live
from tests.oracle import RefusedError, Tree, UnclearError

# Of several chunks and of one; no two are alike.
SAYS = tuple(f"Reply {number}: {'word ' * (3 + 7 * (number % 4))}end." for number in range(11))
WORDS = st.sampled_from(
    ("Hello.", "And then?", "  Well …  ", "Добрый день", "{{user}} <|eot_id|>", "\n1. A list\n2. of two")
)
NAMES = st.sampled_from(("here", "there"))
NUMBERS = st.integers(0, 10_000)


@dataclass
class Held:
    """A session: its oracle, and the id of each of the oracle's messages."""

    id: str
    oracle: Tree
    ids: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class World:
    """A running application, and the way into its event loop."""

    portal: BlockingPortal
    live: Live

    @property
    def turns(self) -> Turns:
        turns: Turns = self.live.app.state.turns
        return turns

    def next_texts(self, count: int) -> list[str]:
        """What the engine will say."""
        return [SAYS[(self.live.engine.replies + number) % len(SAYS)] for number in range(count)]


@pytest.fixture(scope="module")
def world(renderer: Renderer, redis_url: str) -> Iterator[World]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            serve_live(FakeEngine(renderer, Script(says=SAYS), max_model_len=16_384), redis_url, prewarm_below=0)
        ) as live,
    ):
        yield World(portal, live)


async def take(beginning: Awaitable[RunningTurn], chunks: int | None = None) -> RunningTurn:
    """Take a turn to its end; or go after so many chunks."""
    turn = await beginning
    async with turn, aclosing(turn.stream()) as stream:
        if chunks == 0:
            return turn
        number = 0
        async for _ in stream:
            number += 1
            if number == chunks:
                break
    return turn


class Sessions(RuleBasedStateMachine):
    """Rules do the same to a session and to its oracle; what the oracle refuses must be refused."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Held] = []
        self.at = 0
        self.world.live.engine.replies = 0
        self.open()

    @property
    def now(self) -> Held:
        return self.held[self.at % len(self.held)]

    @property
    def turns(self) -> Turns:
        return self.world.turns

    def call(self, function: Callable[..., Awaitable[Any]], *arguments: Any, **named_ones: Any) -> Any:
        return self.world.portal.call(partial(function, *arguments, **named_ones))

    def do(self, expect: Callable[[Tree], object], act: Callable[[], Awaitable[Any]]) -> None:
        """Do it to both, twice under one name: the second time it is told of the first."""
        after = deepcopy(self.now.oracle)
        try:
            expect(after)
        except UnclearError:
            return
        except RefusedError:
            with pytest.raises(ApiError):
                self.call(act)
            return
        operation = new_id("operation")

        async def act_twice() -> None:
            with named(operation):
                await act()
                await act()

        self.call(act_twice)
        self.now.oracle = after

    def read(self, held: Held) -> Session:
        session: Session = self.call(self.turns.sessions.get, held.id)
        return session

    def match(self, held: Held, session: Session) -> None:
        """Find the message of each of the oracle's that is new; twins are told apart by what they are to the others."""
        oracle, known, branch = held.oracle, set(held.ids), {message.id for message in session.branch()}
        found = dict(enumerate(held.ids))
        left = [message for message in session.messages.values() if message.id not in known]
        for number, node in enumerate(oracle.nodes):
            if number in found:
                continue
            twins = [twin for twin in range(number, len(oracle.nodes)) if oracle.nodes[twin].is_like(node)]
            twins.sort(key=lambda twin: (twin in oracle.path(oracle.tip), oracle.names(twin), oracle.nodes[twin].age))
            parent = None if node.parent is None else found[node.parent]
            alike = [it for it in left if (it.parent, it.role, it.content) == (parent, node.role, node.content)]
            alike.sort(key=lambda it: (it.id in branch, _names(session, it.id), it.created))
            assert len(alike) == len(twins), f"{len(twins)} of {node} are {alike}"
            found |= {twin: message.id for twin, message in zip(twins, alike, strict=True)}
            left = [message for message in left if message not in alike]
        assert not left, "there is more than was said"
        held.ids = [found[number] for number in range(len(oracle.nodes))]

    @rule()
    def open(self) -> None:
        async def create() -> Session:
            lyra = await self.world.live.app.state.characters.get("lyra")
            session = open_session(lyra, UserPersona("Mira"), self.turns.renderer)
            return await self.turns.sessions.create(await self.turns.preparation.with_head(session))

        session = self.call(create)
        oracle = Tree()
        for message in session.branch():
            oracle.tip = oracle._add(oracle.tip, message.role, message.content)
        self.held.append(Held(session.id, oracle))
        self.at = len(self.held) - 1

    @rule(number=NUMBERS)
    def go_to(self, number: int) -> None:
        self.at = number

    @rule(said=WORDS, n=st.integers(1, 3))
    def reply(self, said: str, n: int) -> None:
        texts = self.world.next_texts(n)
        self.do(
            lambda oracle: oracle.reply(said, texts),
            lambda: take(self.turns.reply(self.now.id, said, SamplingParams(n=n))),
        )

    @rule(n=st.integers(1, 2))
    def regenerate(self, n: int) -> None:
        texts = self.world.next_texts(n)
        self.do(
            lambda oracle: oracle.regenerate(texts),
            lambda: take(self.turns.regenerate(self.now.id, SamplingParams(n=n))),
        )

    @rule()
    def go_on(self) -> None:
        [text] = self.world.next_texts(1)
        before = self.read(self.now).branch()
        self.do(lambda oracle: oracle.go_on(text), lambda: take(self.turns.continue_(self.now.id, SamplingParams())))
        after = self.read(self.now)
        if before and before[-1].role == "assistant":
            begun = list(before[-1].token_ids)
            assert list(after.branch()[-1].token_ids)[: len(begun)] == begun

    @rule(begun=st.sampled_from(("", "I say: ")))
    def impersonate(self, begun: str) -> None:
        [text] = self.world.next_texts(1)
        self.do(
            lambda oracle: oracle.impersonate(begun, text),
            lambda: take(self.turns.impersonate(self.now.id, SamplingParams(), begun=begun)),
        )

    @rule(said=WORDS, chunks=st.integers(0, 2))
    def go_in_mid_reply(self, said: str, chunks: int) -> None:
        """The client goes: what was spoken stays, and nothing where nothing was."""
        [text] = self.world.next_texts(1)
        spoken = text[: CHUNK * chunks]

        async def act() -> None:
            await take(self.turns.reply(self.now.id, said, SamplingParams()), chunks)

        if chunks:
            self.do(lambda oracle: oracle.reply(said, [spoken]), act)
        else:
            self.call(act)

    @precondition(lambda self: self.now.oracle.nodes)
    @rule(number=NUMBERS, content=WORDS)
    def edit(self, number: int, content: str) -> None:
        number %= len(self.now.oracle.nodes)
        self.rearrange(
            lambda oracle: oracle.edit(number, content),
            partial(tree.edit, message_id=self.now.ids[number], content=content, encode=self.turns.renderer.encode),
        )

    @precondition(lambda self: self.now.oracle.nodes)
    @rule(number=NUMBERS, following=st.booleans())
    def delete(self, number: int, following: bool) -> None:
        number %= len(self.now.oracle.nodes)
        self.rearrange(
            lambda oracle: oracle.delete(number, following=following),
            partial(tree.delete, message_id=self.now.ids[number], following=following),
        )

    @precondition(lambda self: self.now.oracle.nodes)
    @rule(number=NUMBERS, following=st.booleans())
    def select(self, number: int, following: bool) -> None:
        number %= len(self.now.oracle.nodes)
        self.rearrange(
            lambda oracle: oracle.select(number, following=following),
            partial(tree.select, message_id=self.now.ids[number], following=following),
        )

    @rule()
    def undo(self) -> None:
        self.rearrange(lambda oracle: oracle.take_back(), tree.undo)

    @precondition(lambda self: self.now.oracle.nodes)
    @rule(name=NAMES, number=NUMBERS)
    def mark(self, name: str, number: int) -> None:
        number %= len(self.now.oracle.nodes)
        self.rearrange(
            lambda oracle: oracle.mark(name, number),
            partial(tree.mark, name=name, message_id=self.now.ids[number]),
        )

    @rule(name=NAMES)
    def unmark(self, name: str) -> None:
        self.rearrange(lambda oracle: oracle.unmark(name), partial(tree.unmark, name=name))

    @rule(name=NAMES)
    def restore(self, name: str) -> None:
        def change(session: Session) -> tree.Change:
            return tree.select(session, tree.find_checkpoint(session, name), following=False)

        self.rearrange(lambda oracle: oracle.restore(name), change)

    def rearrange(self, expect: Callable[[Tree], object], change: Callable[[Session], tree.Change]) -> None:
        self.do(expect, partial(self.turns.rearrange, self.now.id, change))

    @precondition(lambda self: self.now.oracle.nodes)
    @rule(number=NUMBERS)
    def fork(self, number: int) -> None:
        number %= len(self.now.oracle.nodes)

        async def act() -> Session:
            session = await self.turns.preparation.renew(await self.turns.sessions.get(self.now.id))
            return await self.turns.sessions.create(tree.fork(session, self.now.ids[number]))

        forked = self.call(act)
        self.held.append(Held(forked.id, self.now.oracle.fork(number)))

    @precondition(lambda self: len(self.held) > 1)
    @rule()
    def erase(self) -> None:
        gone = self.now
        self.call(self.turns.sessions.delete, gone.id)
        self.held.remove(gone)
        for call in (self.turns.sessions.get, self.turns.sessions.delete):
            with pytest.raises(NotFoundError):
                self.call(call, gone.id)
        left = self.call(self.world.live.app.state.redis.keys, f"*{gone.id}*")
        assert not left

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
            await take(_given(first))

        self.call(act)
        self.now.oracle.reply(said, [text])

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
                await take(_given(late))

        self.call(act)
        self.now.oracle.impersonate("", "I was first.")

    async def run_out(self) -> None:
        await self.world.live.app.state.redis.delete(f"oc:{{{self.now.id}}}:lease")

    @invariant()
    def all_is_as_the_oracle_says(self) -> None:
        for held in self.held:
            session, oracle = self.read(held), held.oracle
            self.match(held, session)
            assert session.version == oracle.version
            assert session.tip == (None if oracle.tip is None else held.ids[oracle.tip])
            assert [(message.role, message.content) for message in session.branch()] == oracle.spoken()
            assert list(session.undo) == ["" if tip is None else held.ids[tip] for tip in oracle.undo]
            assert session.checkpoints == {name: held.ids[marked] for name, marked in oracle.marks.items()}
            assert session.window is None or session.window in {message.id for message in session.branch()}

    def teardown(self) -> None:
        for held in self.held:
            with suppress(NotFoundError):
                self.call(self.turns.sessions.delete, held.id)


def _names(session: Session, message_id: str) -> list[str]:
    return sorted(name for name, marked in session.checkpoints.items() if marked == message_id)


async def _given(turn: RunningTurn) -> RunningTurn:
    return turn


def test_sessions_are_what_was_done_to_them(world: World) -> None:
    Sessions.world = world
    run_state_machine_as_test(
        Sessions,
        settings=settings(max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=[*HealthCheck]),
    )
