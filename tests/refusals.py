"""Asking for what should be refused, and how a refusal looks: OpenAI's error object, with a message."""

from typing import Any

import httpx

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 2}


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post(CHAT, json=ASK | fields)


def assert_error(response: httpx.Response, status: int, *, code: str | None = None, param: str | None = None) -> str:
    """That `response` is an error as OpenAI's; returns its message."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["type"]
    if code is not None:
        assert body["error"]["code"] == code
    if param is not None:
        assert body["error"]["param"] == param
    message: str = body["error"]["message"]
    assert message
    return message


def assert_error_body(response: httpx.Response) -> dict[str, Any]:
    """That it is one with status 400; returns what it says."""
    assert_error(response, 400)
    error: dict[str, Any] = response.json()["error"]
    return error
