"""`Idempotency-Key` on every POST that there is: sent twice, each is done once."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from models.renderer import Renderer
from tests.chats import HEADER, jsonl, reply, user
from tests.fake_engine import FakeEngine, Script
from tests.faults import open_session
from tests.live import Live, serve_live
from tests.synthesis import CONTEXT, write

pytestmark = pytest.mark.anyio

CARD = {"spec": "chara_card_v2", "spec_version": "2.0", "data": {"name": "Ida"}}
CHAT = jsonl(HEADER, user(), reply("Well met."))
# What is sent to each route. The names of its parameters are those of `open_all`.
POSTS: dict[str, Any] = {
    "/v1/chat/completions": {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}]},
    "/characters": {"name": "Odo"},
    "/characters/import": CARD,
    "/characters/synthesize": {"persona": "A lighthouse keeper"},
    "/characters/{record_id}/versions/{version}/restore": None,
    "/lorebooks": {"name": "Harbour", "entries": []},
    "/lorebooks/test": {"lorebook": {"entries": []}, "text": "Hello."},
    "/lorebooks/{record_id}/versions/{version}/restore": None,
    "/personas": {"name": "Mira"},
    "/personas/{record_id}/versions/{version}/restore": None,
    "/sessions": {"character_id": "lyra"},
    "/sessions/import": CHAT,
    "/sessions/{session_id}/messages": {"content": "Hello."},
    "/sessions/{session_id}/regenerate": {},
    "/sessions/{session_id}/continue": {},
    "/sessions/{session_id}/impersonate": {},
    "/sessions/{session_id}/auto": {"turns": 2},
    "/sessions/{session_id}/memories": {"text": "Sam fears lifts."},
    "/sessions/{session_id}/messages/{message_id}/select": {"following": False},
    "/sessions/{session_id}/undo": {},
    "/sessions/{session_id}/fork": {},
    "/sessions/{session_id}/checkpoints/{name}/restore": {},
    "/sessions/{session_id}/turns/{turn_id}/cancel": None,
}
KINDS = {"characters": {"name": "Odo"}, "lorebooks": {"name": "Harbour", "entries": []}, "personas": {"name": "Mira"}}


@pytest.fixture(scope="module")
async def live(renderer: Renderer, redis_url: str) -> AsyncIterator[Live]:
    """A server whose engine writes profiles, whatever it is asked."""
    engine = FakeEngine(renderer, Script(says=(write(name="Ida"),)), max_model_len=CONTEXT)
    async with serve_live(engine, redis_url) as running:
        yield running


async def open_all(live: Live, route: str) -> dict[str, str]:
    """A session that was talked in, a record of the route's kind, and their names."""
    session = await open_session(live)
    told = (await live.client.post(f"{session}/messages", json={"content": "Hello."})).raise_for_status().json()
    (await live.client.put(f"{session}/checkpoints/here", json={})).raise_for_status()
    names = {name: told[name] for name in ("session_id", "message_id", "turn_id")} | {"name": "here", "version": "1"}
    if body := KINDS.get(route.split("/")[1]):
        record = (await live.client.post(f"/{route.split('/')[1]}", json=body)).raise_for_status().json()
        names["record_id"] = record["id"]
    return names


async def send(live: Live, path: str, body: Any, key: str) -> httpx.Response:
    sent: dict[str, Any] = {"content": body, "params": {"character_id": "lyra"}} if body == CHAT else {"json": body}
    return await live.client.post(path, **sent, headers={"Idempotency-Key": key})


async def count(live: Live) -> list[int]:
    """How many there are of each kind."""
    lists = [(await live.client.get(f"/{kind}", params={"limit": 200})).json()[kind] for kind in (*KINDS, "sessions")]
    return [len(listed) for listed in lists]


def routes(live: Live) -> set[str]:
    return {route.path for route in live.app.routes if isinstance(route, APIRoute) and "POST" in route.methods}


async def test_every_post_is_here(live: Live) -> None:
    assert routes(live) == POSTS.keys()


@pytest.mark.parametrize("route", POSTS)
async def test_post_is_done_once(live: Live, route: str) -> None:
    names = await open_all(live, route)
    path, key = route.format(**names), names["turn_id"]
    first = await send(live, path, POSTS[route], key)
    assert first.is_success, first.text
    session, counted = (await live.client.get(f"/sessions/{names['session_id']}")).json(), await count(live)
    again = await send(live, path, POSTS[route], key)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert (await live.client.get(f"/sessions/{names['session_id']}")).json() == session
    assert await count(live) == counted
