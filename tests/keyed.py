"""Requests that are sent with one `Idempotency-Key`, again and again."""

from typing import Any

import httpx

from tests.live import Live

KEY = {"Idempotency-Key": "once"}
HELLO = {"content": "Hello."}
REPLAYED = "idempotent-replayed"


async def send(live: Live, path: str, body: Any = None, **headers: str) -> httpx.Response:
    return await live.client.post(path, json=body, headers=KEY | headers)
