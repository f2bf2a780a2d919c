"""What tests of faults share: a turn under way, held where they want it, and what was seen of it afterwards."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest

from tests.fake_engine import Script
from tests.live import Live

both = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


async def until(condition: Callable[[], object], what: str, timeout_s: float = 10.0) -> None:
    """Return as soon as `condition` holds; fail, naming `what`, when it doesn't in time."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise TimeoutError(f"{what}: not within {timeout_s} s") from None


async def open_session(live: Live) -> str:
    """The path of a new session."""
    answer = await live.client.post("/sessions", json={"character_id": "lyra"})
    return f"/sessions/{answer.raise_for_status().json()['id']}"


async def said(live: Live, session: str) -> list[dict[str, Any]]:
    """What a session holds after its greeting."""
    messages: list[dict[str, Any]] = (await live.client.get(f"{session}/messages")).json()["messages"]
    return messages[1:]


def gauge(live: Live, name: str) -> float:
    """A metric as Prometheus would read it."""
    lines = live.app.state.metrics.exposition().decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"opencharacter_{name} "))


def payloads(lines: list[str]) -> list[str]:
    return [line.removeprefix("data: ") for line in lines if line]


def assert_error_frames(lines: list[str], code: str) -> None:
    """That a stream ended as a failed one does: an error frame, then [DONE]."""
    *_, error, done = payloads(lines)
    assert done == "[DONE]"
    assert json.loads(error)["error"]["code"] == code
    assert set(json.loads(error)["error"]) == {"message", "type", "param", "code"}


@asynccontextmanager
async def saying(
    live: Live, session: str, *, stream: bool, **fields: Any
) -> AsyncIterator[asyncio.Task[httpx.Response]]:
    """A turn under way, held where the engine's script says; the answer is the task's."""
    body = {"content": "Hello.", "stream": stream, **fields}
    task = asyncio.create_task(live.client.post(f"{session}/messages", json=body))
    try:
        await asyncio.wait_for(live.engine.held.wait(), 10)
        yield task
    finally:
        live.engine.go.set()
        task.cancel()
        with suppress(asyncio.CancelledError, httpx.HTTPError):
            await task


def resume(live: Live) -> None:
    """Let the engine say the rest, of this turn and of those to come."""
    live.engine.script = Script()
    live.engine.go.set()
