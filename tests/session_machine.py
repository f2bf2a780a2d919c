"""A session and its oracle, to which rules do the same; and the rules of whoever talks, swipes, edits and forks."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.errors import ApiError, NotFoundError
from app.sessions import tree
from app.sessions.ids import new_id
from app.sessions.opening import open_session
from app.sessions.receipts import named
from app.sessions.session import Session
from app.sessions.turns import Turns
from app.store.sessions import SessionStore
from models.engine import SamplingParams
from models.scene import UserPersona
from tests.fake_engine import CHUNK
from tests.oracle import RefusedError, Tree, UnclearError
from tests.session_world import Held, World, take

WORDS = st.sampled_from(
    ("Hello.", "And then?", "  Well …  ", "Добрый день", "{{user}} <|eot_id|>", "\n1. A list\n2. of two")
)
NAMES = st.sampled_from(("here", "there"))
NUMBERS = st.integers(0, 10_000)


class Talk(RuleBasedStateMachine):
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
        """The session as it is stored, and as the application reads it, which must be the same."""
        stored = SessionStore(self.world.live.app.state.redis, 15, most_known=0)
        session: Session = self.call(stored.get, held.id)
        assert self.call(self.turns.sessions.get, held.id) == session
        return session

    async def read_all(self) -> list[Session]:
        return [await self.turns.sessions.get(held.id) for held in self.held]

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

    @rule()
    def speak(self) -> None:
        texts = self.world.next_texts(1)
        self.do(lambda oracle: oracle.speak(texts), lambda: take(self.turns.speak(self.now.id, SamplingParams())))

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
            forked = await self.turns.sessions.create(tree.fork(session, self.now.ids[number]))
            await self.world.memory.store.copy(self.now.id, forked.id)
            return forked

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

    @invariant()
    def all_is_as_the_oracle_says(self) -> None:
        for held, session in zip(self.held, self.call(self.read_all), strict=True):
            oracle = held.oracle
            self.match(held, session)
            assert session.version == oracle.version
            assert session.tip == (None if oracle.tip is None else held.ids[oracle.tip])
            assert [(message.role, message.content) for message in session.branch()] == oracle.spoken()
            assert list(session.undo) == ["" if tip is None else held.ids[tip] for tip in oracle.undo]
            assert session.memory == oracle.memory
            assert session.checkpoints == {name: held.ids[marked] for name, marked in oracle.marks.items()}
            assert session.window is None or session.window in {message.id for message in session.branch()}

    def teardown(self) -> None:
        for held in self.held:
            with suppress(NotFoundError):
                self.call(self.turns.sessions.delete, held.id)


def _names(session: Session, message_id: str) -> list[str]:
    return sorted(name for name, marked in session.checkpoints.items() if marked == message_id)
