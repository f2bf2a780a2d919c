"""A message of two megabytes, wherever one can be sent: refused at once, with nothing written and nobody held up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.fake_engine import Script
from tests.faults import open_session, said
from tests.live import Live
from tests.refusals import CHAT, assert_error

pytestmark = pytest.mark.anyio

LONG = "All work and no play. " * (2_100_000 // 22)
SHORT = {"role": "user", "content": "Hello."}
# For so long nothing else may be kept waiting; a token a character would take seconds.
MOST_HELD_S = 0.5


@pytest.fixture
def live(running: Live) -> Live:
    running.engine.script = Script()
    running.engine.prompts.clear()
    return running


@asynccontextmanager
async def nobody_held_up() -> AsyncIterator[None]:
    """That the event loop goes round in the body."""
    held = 0.0

    async def go_round() -> None:
        nonlocal held
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            held = max(held, time.perf_counter() - before)

    task = asyncio.create_task(go_round())
    yield
    task.cancel()
    assert held < MOST_HELD_S


@pytest.mark.parametrize("kind", ["messages", "impersonate", "edit"])
async def test_long_message_of_a_session_is_refused(live: Live, kind: str) -> None:
    session = await open_session(live)
    (await live.client.post(f"{session}/messages", json={"content": "Hello."})).raise_for_status()
    before = (await live.client.get(session)).json()
    path = f"messages/{before['messages'][-1]['id']}" if kind == "edit" else kind
    async with nobody_held_up():
        answer = await live.client.request(
            "PATCH" if kind == "edit" else "POST", f"{session}/{path}", json={"content": LONG}
        )
    assert_error(answer, 400, param="content")
    assert (await live.client.get(session)).json() == before
    assert len(live.engine.prompts) == 1


def transcript(place: str) -> list[dict[str, str]]:
    """A transcript with the long message as its last one, somewhere in it, or as its instructions."""
    long = {"role": {"last": "user", "reply": "assistant", "instructions": "system"}[place], "content": LONG}
    return [SHORT, long] if place == "last" else [SHORT, long, SHORT] if place == "reply" else [long, SHORT]


@pytest.mark.parametrize("place", ["last", "reply", "instructions"])
@pytest.mark.parametrize("key", ["new", "known", None])
@pytest.mark.parametrize("model", ["lyra", "fake"])
async def test_transcript_with_a_long_message_is_refused(live: Live, model: str, key: str | None, place: str) -> None:
    session = await open_session(live)
    name = session.rpartition("/")[2] if key == "known" else f"{model}-{place}"
    headers = {"X-Session-Id": name} if key else {}
    body: dict[str, Any] = {"model": model, "messages": transcript(place)}
    async with nobody_held_up():
        answer: httpx.Response = await live.client.post(CHAT, json=body, headers=headers)
    assert_error(answer, 400, code="context_length_exceeded")
    assert not live.engine.prompts
    assert await said(live, session) == []
    if key == "new":
        assert_error(await live.client.get(f"/sessions/{name}"), 404)


async def test_long_greeting_note_and_memory_are_refused_too(live: Live) -> None:
    opened = {"character_id": "lyra", "greeting": LONG}
    assert_error(await live.client.post("/sessions", json=opened), 400)
    session = await open_session(live)
    assert_error(await live.client.patch(session, json={"note": {"text": LONG}}), 400, param="note.text")
    assert_error(await live.client.post(f"{session}/memories", json={"text": LONG}), 400, param="text")
