"""Bodies that nobody should send: each gets a clear error in OpenAI's shape."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.refusals import ASK, CHAT, assert_error

pytestmark = pytest.mark.usefixtures("engine_lives_on")


BODIES = [
    ("POST", CHAT),
    ("POST", "/characters"),
    ("PUT", "/characters/lyra"),
    ("PATCH", "/characters/lyra"),
    ("POST", "/characters/synthesize"),
    ("POST", "/sessions"),
    ("POST", "/sessions/sess_nowhere/messages"),
    ("POST", "/sessions/sess_nowhere/regenerate"),
]
IDS = [f"{method} {path}" for method, path in BODIES]
every_body = pytest.mark.parametrize(("method", "path"), BODIES, ids=IDS)
# All but regeneration, which has nothing that it needs to be told.
every_needed_body = pytest.mark.parametrize(("method", "path"), BODIES[:-1], ids=IDS[:-1])
DEEP = 100_000


@every_body
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"name": }',
        b'{"name": "Odo"} {}',
        b'{"name": NaN}',
        b'{"name": Infinity}',
        b'{"name": -Infinity}',
        b'{"name": 1e999}',
        b'{"name": "\\ud800"}',
        b'{"name": "\xed\xa0\x80"}',
        b'{"name": "\xff"}',
        b'{"name": "\x00"}',
        b"\xef\xbb\xbf\xff",
        b"[" * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    ],
    ids=lambda body: repr(body[:20])[2:-1],
)
def test_body_that_is_not_json_is_refused(client: httpx.Client, method: str, path: str, body: bytes) -> None:
    assert_error(client.request(method, path, content=body), 400)


@every_body
@pytest.mark.parametrize("value", [[], [{}], "text", 1, 1.5, True], ids=json.dumps)
def test_body_that_is_no_object_is_refused(client: httpx.Client, method: str, path: str, value: Any) -> None:
    assert_error(client.request(method, path, content=json.dumps(value)), 400)


@every_needed_body
@pytest.mark.parametrize("body", [b"", b"null"])
def test_body_that_is_missing_is_refused(client: httpx.Client, method: str, path: str, body: bytes) -> None:
    assert_error(client.request(method, path, content=body), 400)


@every_body
def test_nul_is_refused(client: httpx.Client, method: str, path: str) -> None:
    for body in ({"name": "a\0b"}, {"deep": [{"in": "\0"}]}, {"\0": 1}):
        assert_error(client.request(method, path, json=body), 400, code="invalid_text")


@every_body
def test_deep_nesting_is_refused(client: httpx.Client, method: str, path: str) -> None:
    body = b'{"a":' + b"[" * 70 + b"]" * 70 + b"}"
    assert_error(client.request(method, path, content=body), 400, code="invalid_json")


@every_body
def test_big_body_is_refused(client: httpx.Client, method: str, path: str) -> None:
    body = json.dumps({"name": "a" * 10_000_000}).encode()
    message = assert_error(client.request(method, path, content=body), 413, code="body_too_large")
    assert "4194304 bytes" in message


@every_body
def test_big_body_without_a_length_is_refused(client: httpx.Client, method: str, path: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"name": "'
        for _ in range(160):
            yield b"a" * 65_536
        yield b'"}'

    response = client.request(method, path, content=pieces())
    assert response.request.headers["transfer-encoding"] == "chunked"
    assert_error(response, 413, code="body_too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=x", ""])
def test_json_is_read_under_any_content_type(client: httpx.Client, kind: str) -> None:
    answer = client.post(CHAT, content=json.dumps(ASK), headers={"content-type": kind})
    assert answer.status_code == 200


def test_unknown_route_is_an_error_object(client: httpx.Client) -> None:
    assert_error(client.get("/nowhere"), 404)
    assert_error(client.get("/v1/chat/completions"), 405)
    assert_error(client.request("PURGE", "/characters"), 405)
