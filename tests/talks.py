"""Sessions that are talked in over HTTP: what is sent there, what they hold afterwards, what the model was given."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from models.renderer import Renderer
from tests.fake_engine import FakeEngine, Script
from tests.live import Live, serve_live

REPLIES = ["First reply.", "Second reply.", "Third reply.", "Fourth reply.", "Fifth reply.", "Sixth reply."]


@asynccontextmanager
async def serve_replies(renderer: Renderer, redis_url: str) -> AsyncIterator[Live]:
    """A server that says REPLIES, one after the other: never the same twice in a row."""
    async with serve_live(FakeEngine(renderer, Script(says=REPLIES)), redis_url) as running:
        yield running


async def open_session(live: Live, **fields: Any) -> str:
    """The path of a new session in which nothing was said, unless `fields` greet."""
    answer = await live.client.post("/sessions", json={"character_id": "lyra", "greeting": None, **fields})
    return f"/sessions/{answer.raise_for_status().json()['id']}"


async def post(live: Live, path: str, **body: Any) -> dict[str, Any]:
    answer = await live.client.post(path, json=body)
    told: dict[str, Any] = answer.raise_for_status().json()
    return told


async def say(live: Live, session: str, content: str, **more: Any) -> dict[str, Any]:
    return await post(live, f"{session}/messages", content=content, **more)


async def messages(live: Live, session: str, **query: str) -> list[dict[str, Any]]:
    answer = await live.client.get(f"{session}/messages", params=query)
    told: list[dict[str, Any]] = answer.raise_for_status().json()["messages"]
    return told


async def all_messages(live: Live, session: str) -> list[Any]:
    """Those of every branch, as they are stored."""
    stored = await live.app.state.turns.sessions.get(session.rsplit("/", 1)[1])
    return list(stored.messages.values())


async def texts(live: Live, session: str, **query: str) -> list[str]:
    return [message["content"] for message in await messages(live, session, **query)]


def prompt(live: Live, number: int = -1) -> str:
    """What the model was given, last unless `number` says otherwise."""
    return live.engine.renderer.decode(live.engine.prompts[number])
