"""A lorebook in several formats, and requests for it."""

import base64
import json
from typing import Any

import httpx

from tests.cards import png, text
from tests.live import Live
from tests.lore import entry

HARBOUR: dict[str, Any] = {
    "name": "The harbour",
    "scan_depth": 3,
    "extensions": {"x": {"y": [1, None]}},
    "an_unknown_field": "kept",
    "entries": [entry("pier", "quay", content="The pier is rotten.", insertion_order=5, id=7)],
}
NOVELAI = {"lorebookVersion": 5, "entries": [{"keys": ["pier"], "text": "The pier is rotten.", "enabled": True}]}
V3 = {"spec": "lorebook_v3", "data": HARBOUR}
PICTURE = png(text("naidata", base64.b64encode(json.dumps(NOVELAI).encode())))


async def call(live: Live, method: str, path: str, **fields: Any) -> httpx.Response:
    answer = await live.client.request(method, f"/lorebooks{path}", **fields)
    return answer.raise_for_status()


async def create(live: Live, book: Any = HARBOUR, **query: str) -> dict[str, Any]:
    """Register `book`; what the server answered."""
    made: dict[str, Any] = (await call(live, "POST", "", json=book, params=query)).json()
    return made


async def refuse(live: Live, status: int, method: str = "POST", path: str = "", **fields: Any) -> dict[str, Any]:
    """What the server says of a request that it should refuse."""
    answer = await live.client.request(method, f"/lorebooks{path}", **fields)
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert error["message"]
    return error
