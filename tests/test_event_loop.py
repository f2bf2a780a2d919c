"""What takes long on the way to a turn is done beside the event loop, in which all other turns are streamed."""

import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from models.renderer import Renderer
from tests.fake_engine import FakeEngine, Script
from tests.live import Live, serve_live
from tests.refusals import CHAT

pytestmark = pytest.mark.anyio
# Said in all that is long.
MARK = "Xylophagous"


class Watched:
    """A renderer that notes in which threads it encodes what has the mark."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self.fingerprint = renderer.fingerprint
        self.threads: set[int] = set()

    def __getattr__(self, name: str) -> Any:  # whatever a renderer has
        return getattr(self._renderer, name)

    def encode(self, text: str) -> list[int]:
        if MARK in text:
            self.threads.add(threading.get_ident())
        return self._renderer.encode(text)

    def assert_beside_the_loop(self) -> None:
        """That it has encoded what has the mark, and nowhere in the event loop."""
        assert self.threads
        assert threading.get_ident() not in self.threads


@pytest.fixture
def watched(renderer: Renderer) -> Watched:
    return Watched(renderer)


@pytest.fixture
async def live(watched: Watched, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    async with serve_live(FakeEngine(watched, Script(says=["Yes."])), redis_url) as running:
        yield running


def transcript(first: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    said = [{"role": roles[number % 2], "content": f"{number}: {MARK}"} for number in range(9)]
    return [said[0] | {"content": f"{first} {MARK}"}, *said[1:-1], {"role": "user", "content": "And then?"}]


async def chat(live: Live, first: str) -> None:
    body = {"model": "lyra", "messages": transcript(first)}
    (await live.client.post(CHAT, json=body, headers={"x-session-id": "long"})).raise_for_status()


async def test_transcript_that_opens_a_session_is_encoded_beside_the_loop(live: Live, watched: Watched) -> None:
    await chat(live, "One.")
    watched.assert_beside_the_loop()


async def test_transcript_that_says_otherwise_is_encoded_beside_the_loop(live: Live, watched: Watched) -> None:
    await chat(live, "One.")
    watched.threads.clear()
    await chat(live, "Uno.")
    watched.assert_beside_the_loop()


async def test_session_of_another_vocabulary_is_encoded_beside_the_loop(live: Live, watched: Watched) -> None:
    await chat(live, "One.")
    watched.threads.clear()
    live.app.state.turns.renderer.fingerprint = "another"
    (await live.client.post("/sessions/long/undo")).raise_for_status()
    watched.assert_beside_the_loop()
