"""Chats that are cut, and a memory that tells what it is told to of what left them."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from redis.asyncio import Redis

from app.sessions.message import Message
from app.sessions.session import Session
from app.store.sessions import SessionStore
from tests.live import Live
from tests.memories import LINE, rest, say


class Memory:
    """Remembers everything, and tells of it what it is told to."""

    def __init__(self, told: str = "They spoke of the moon.") -> None:
        self.told = told
        self.go = asyncio.Event()
        self.go.set()
        self.asked = 0
        self.remembered: list[str] = []

    async def remember(self, session: Session, leaving: Sequence[Message]) -> str:
        self.asked += 1
        await self.go.wait()
        self.remembered += [message.id for message in leaving]
        return self.told


@contextmanager
def remember_with(live: Live) -> Iterator[Memory]:
    """Let the application remember with the one that is given, which holds nothing up at exit."""
    memory = Memory()
    live.app.state.turns.afterwards.remember = memory.remember
    try:
        yield memory
    finally:
        memory.go.set()


async def metric(live: Live, name: str) -> float:
    lines = (await live.client.get("/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"opencharacter_{name}"))


async def talk_until_cut(live: Live, path: str, *, resting: bool = True) -> list[int]:
    """Say things until the history is cut; returns the prompt of the turn that cut it."""
    for number in range(40):
        if resting:
            await rest(live)
        await say(live, path, f"{number} {LINE}")
        before, after = [[], *live.engine.prompts][-2:]
        if len(after) < len(before):
            return after
    raise AssertionError("the history was never cut")


async def read_session(redis: Redis, path: str) -> Session:
    return await SessionStore(redis, 15).get(path.rpartition("/")[2])
