"""Scenes for tests: three characters in one session, in a kitchen."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from models.renderer import Renderer
from tests.live import Live
from tests.talks import serve_replies

SCENE = "A kitchen at midnight, the power is out."


@asynccontextmanager
async def serve_cast(renderer: Renderer, redis_url: str) -> AsyncIterator[Live]:
    """A server that knows the three."""
    async with serve_replies(renderer, redis_url) as running:
        for character_id, name in (("ann", "Ann Lee"), ("ben", "Ben"), ("cleo", "Cleo")):
            card: dict[str, Any] = {
                "name": name,
                "description": f"{name} sees through {name}'s own eyes.",
                "first_mes": f"{name} nods.",
            }
            if character_id == "cleo":
                card["group_only_greetings"] = ["{{char}} waves at all of you."]
            answer = await running.client.post("/characters", json={"id": character_id, "data": card})
            answer.raise_for_status()
        yield running


async def open_scene(live: Live, *ids: str, **fields: Any) -> str:
    body = {"character_ids": ids or ["ann", "ben", "cleo"], "scene": SCENE, "greeting": None, **fields}
    answer = await live.client.post("/sessions", json=body)
    return f"/sessions/{answer.raise_for_status().json()['id']}"


async def speakers(live: Live, session: str) -> list[str | None]:
    answer = await live.client.get(f"{session}/messages")
    return [message.get("speaker") for message in answer.json()["messages"]]
