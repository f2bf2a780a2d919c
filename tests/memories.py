"""Chats that are long enough to be remembered, and what stands in the prompts of their turns."""

import asyncio
from collections.abc import Callable
from typing import Any

from app.sessions.memory import Memory
from tests.live import PATIENCE_S, Live

FACT = "My little sister Ottilie lives in Bergen."
ASKED = "Where does my sister Ottilie live?"
LINE = "moon " * 60
HEADING = "# What Lyra Tamm remembers"


def memory_of(live: Live) -> Memory:
    memory: Memory = live.app.state.memory
    return memory


async def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Return as soon as `condition` holds; fail, naming `what`, when it doesn't in time."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"not in time: {what}") from None


async def open_chat(live: Live, **fields: Any) -> str:
    """A session's path."""
    opened = await live.client.post("/sessions", json={"character_id": "lyra", **fields})
    return f"/sessions/{opened.raise_for_status().json()['id']}"


async def say(live: Live, path: str, content: str = "Hello.") -> dict[str, Any]:
    answer = await live.client.post(f"{path}/messages", json={"content": content})
    turn: dict[str, Any] = answer.raise_for_status().json()
    return turn


async def rest(live: Live) -> None:
    """Until everything between turns is done."""
    afterwards = live.app.state.turns.afterwards
    await wait_for(lambda: not afterwards.pending, "the work between turns")


async def talk_past(live: Live, path: str) -> None:
    """Say things until what was said first has left the prompt."""
    for number in range(40):
        await rest(live)
        await say(live, path, f"{number} {LINE}")
        if f"\n\n{FACT}<|eot_id|>" not in last_prompt(live):
            await rest(live)
            return
    raise AssertionError("nothing ever left the prompt")


def last_prompt(live: Live) -> str:
    return live.engine.renderer.decode(live.engine.prompts[-1])


def memory_block(live: Live) -> str:
    """The part of the last prompt that tells memories; "" where there is none."""
    _, heading, after = last_prompt(live).partition(HEADING)
    return heading + after.partition("<|eot_id|>")[0] if heading else ""


async def told(live: Live, path: str, question: str = ASKED) -> str:
    """What is remembered in the prompt of a turn that asks."""
    await say(live, path, question)
    return memory_block(live)


async def memories(live: Live, path: str, **query: Any) -> list[dict[str, Any]]:
    answer = await live.client.get(f"{path}/memories", params={"limit": 200, **query})
    listed: list[dict[str, Any]] = answer.raise_for_status().json()["memories"]
    return listed
