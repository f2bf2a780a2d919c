"""What the machine of sessions runs on: an application whose engine says known things, and ways to take turns."""

from collections.abc import Awaitable
from contextlib import aclosing
from dataclasses import dataclass, field

from anyio.from_thread import BlockingPortal

from app.sessions.cancelling import Cancelling
from app.sessions.memory import Memory
from app.sessions.turn import RunningTurn
from app.sessions.turns import Turns
from tests.live import Live
from tests.oracle import Tree

# Of several chunks and of one; no two are alike.
SAYS = tuple(f"Reply {number}: {'word ' * (3 + 7 * (number % 4))}end." for number in range(11))


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

    @property
    def memory(self) -> Memory:
        memory: Memory = self.live.app.state.memory
        return memory

    @property
    def cancelling(self) -> Cancelling:
        cancelling: Cancelling = self.live.app.state.cancelling
        return cancelling

    def next_texts(self, count: int) -> list[str]:
        """What the engine will say."""
        return [SAYS[(self.live.engine.replies + number) % len(SAYS)] for number in range(count)]


async def take(beginning: Awaitable[RunningTurn], chunks: int | None = None) -> RunningTurn:
    """Take a turn to its end; or go after so many chunks."""
    return await play(await beginning, chunks)


async def play(turn: RunningTurn, chunks: int | None = None) -> RunningTurn:
    """The same for one that has begun."""
    async with turn, aclosing(turn.stream()) as stream:
        if chunks == 0:
            return turn
        number = 0
        async for _ in stream:
            number += 1
            if number == chunks:
                break
    return turn
