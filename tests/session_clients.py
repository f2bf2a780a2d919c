"""The rules of clients that keep whole transcripts themselves, of chats that go home and come in, and of memories."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from app.sessions.chats import to_chat, with_chat
from app.sessions.ids import new_id
from app.sessions.opening import open_session
from app.sessions.session import Session
from app.store.memories import MemoryRecord
from characters.chats.reading import read_chat
from characters.chats.writing import Format, write_chat
from models.engine import SamplingParams
from models.examples import Line
from models.scene import UserPersona
from tests.session_machine import NUMBERS, WORDS, Talk
from tests.session_world import Held, take

FORMATS: st.SearchStrategy[Format] = st.sampled_from(("openai", "sillytavern"))
# Far fewer than the sessions that a run may open.
MOST_HELD = 6


class Clients(Talk):
    """Rules of clients, on top of those of whoever talks."""

    edits = 0

    @rule(number=NUMBERS, said=WORDS, edited=st.booleans())
    def follow(self, number: int, said: str, edited: bool) -> None:
        """A client sends what some branch says up to some message, its end `edited` there, and one line more."""
        oracle = self.now.oracle
        number %= len(oracle.nodes) + 1
        path = oracle.path(number) if number < len(oracle.nodes) else []
        lines = [("user", said)]
        if edited and path:
            self.edits += 1
            lines = [("assistant", f"As the client says, number {self.edits}."), *lines]
        shown = [(oracle.nodes[step].role, oracle.nodes[step].content) for step in path] + lines
        sent: Any = [Line(role, content) for role, content in shown]  # type: ignore[arg-type]  # roles of messages
        texts = self.world.next_texts(1)
        self.do(
            lambda oracle: oracle.follow(path, lines, texts),
            lambda: take(self.turns.follow(self.now.id, sent, SamplingParams(), whole=True)),
        )

    @precondition(lambda self: self.now.oracle.tip is not None)
    @rule(format=FORMATS)
    def take_home(self, format: Format) -> None:
        """What is written to a file is read from it again, in the order in which it was said."""
        chat = read_chat(write_chat(to_chat(self.read(self.now)), format))
        told = [chat.messages[place] for place in chat.path(chat.tip)]
        assert [(said.role, said.text) for said in told] == self.now.oracle.spoken()

    @precondition(lambda self: len(self.held) < MOST_HELD)
    @rule()
    def bring_in(self) -> None:
        """All branches as a session of their own."""

        async def act() -> Session:
            chat = to_chat(await self.turns.sessions.get(self.now.id))
            lyra = await self.world.live.app.state.characters.get("lyra")
            opened = open_session(lyra, UserPersona("Mira"), self.turns.renderer, greeting=None)
            planted = with_chat(opened, chat, self.turns.renderer.encode)
            return await self.turns.sessions.create(await self.turns.preparation.with_head(planted))

        session = self.call(act)
        self.held.append(Held(session.id, self.now.oracle.bring_in()))

    @rule(way=st.sampled_from(("on", "off")))
    def switch_memory(self, way: str) -> None:
        async def change(_: Session) -> dict[str, Any]:
            return {"memory": way}

        self.call(self.turns.change, self.now.id, change)
        self.now.oracle.switch_memory(way)

    @rule(text=WORDS)
    def write_memory(self, text: str) -> None:
        self.call(self.world.memory.add, self.now.id, [MemoryRecord(new_id("mem"), text)], [None])
        self.now.oracle.memories.append(text)

    @precondition(lambda self: self.now.oracle.memories)
    @rule(number=NUMBERS)
    def forget(self, number: int) -> None:
        records = self.call(self.world.memory.all, self.now.id)
        record = records[number % len(records)]
        self.call(self.world.memory.store.delete, self.now.id, record.id)
        self.now.oracle.memories.remove(record.text)

    @invariant()
    def memories_are_as_the_oracle_says(self) -> None:
        async def read() -> list[list[str]]:
            return [[record.text for record in await self.world.memory.all(held.id)] for held in self.held]

        for held, told in zip(self.held, self.call(read), strict=True):
            assert sorted(told) == sorted(held.oracle.memories)
