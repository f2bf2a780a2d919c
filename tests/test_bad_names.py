"""Names that nobody has: errors tell them, but not at length."""

from typing import Any

import pytest

from tests.live import Live
from tests.refusals import CHAT, assert_error

LONG = "a" * 5000
HELLO = [{"role": "user", "content": "Hello."}]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", f"/characters/{LONG}", None, 404),
        ("PUT", f"/characters/{LONG}", {"name": "Odo"}, 404),
        ("GET", f"/sessions/{LONG}", None, 404),
        ("DELETE", f"/sessions/{LONG}", None, 404),
        ("POST", f"/sessions/{LONG}/messages", {"content": "Hello."}, 404),
        ("POST", f"/sessions/{LONG}/regenerate", None, 404),
        ("POST", "/sessions", {"character_id": LONG}, 404),
        ("GET", f"/v1/models/{LONG}", None, 404),
        ("POST", CHAT, {"model": LONG, "messages": HELLO}, 404),
        ("POST", CHAT, {"model": "lyra", "messages": [{"role": "user", "content": [{"type": LONG}]}]}, 400),
        ("POST", CHAT, {"model": "lyra", "messages": HELLO, "logit_bias": {LONG: "much"}}, 400),
        ("GET", f"/{LONG}", None, 404),
        ("GET", f"/{LONG}%0A{LONG}", None, 404),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_long_name_is_told_in_short(live: Live, method: str, path: str, body: Any, status: int) -> None:
    answer = await live.client.request(method, path, json=body)
    message = assert_error(answer, status)
    assert len(message) < 400
    assert "a" * 50 in message
    assert len(answer.json()["error"]["param"] or "") < 100


@pytest.mark.anyio
async def test_long_etag_is_told_in_short(live: Live) -> None:
    answer = await live.client.delete("/characters/lyra", headers={"If-Match": f'"{LONG}"'})
    assert len(assert_error(answer, 412)) < 400


@pytest.mark.anyio
async def test_long_message_id_is_told_in_short(live: Live) -> None:
    session = (await live.client.post("/sessions", json={"character_id": "lyra"})).json()["id"]
    answer = await live.client.get(f"/sessions/{session}/messages", params={"after": LONG})
    assert len(assert_error(answer, 404, param="after")) < 400
