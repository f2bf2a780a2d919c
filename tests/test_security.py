"""Who may ask: API keys, and without them nobody but this machine."""

from collections.abc import AsyncIterator

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from app.security import new_key
from models.renderer import Renderer
from tests.fake_engine import FakeEngine
from tests.live import Live, serve_live

KEY, OTHER = new_key(), new_key()
EVERYTHING = [
    ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"),
    ("GET", "/characters"),
    ("POST", "/characters"),
    ("GET", "/sessions"),
    ("GET", "/metrics"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/nowhere"),
    ("GET", "//health"),
    ("GET", "/health/"),
    ("GET", "/health/../metrics"),
]


@pytest.fixture(scope="module")
async def locked(renderer: Renderer, redis_url: str) -> AsyncIterator[Live]:
    """A server that knows two keys."""
    async with serve_live(FakeEngine(renderer), redis_url, api_keys=f"{KEY}, {OTHER}") as running:
        yield running


@pytest.fixture(scope="module")
async def unlocked(renderer: Renderer, redis_url: str) -> AsyncIterator[Live]:
    """A server without keys."""
    async with serve_live(FakeEngine(renderer), redis_url) as running:
        yield running


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": KEY},
        {"authorization": "Bearer ,"},
        {"x-api-key": ""},
        {"x-api-key": "é" * 32},
        {"x-api-key": f"{KEY}, {OTHER}"},
        {"authorization": "Bearer wrong", "x-api-key": KEY},
    ],
    ids=range(11),
)
async def test_request_without_a_key_is_refused(locked: Live, headers: dict[str, str]) -> None:
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    answer = await locked.client.get("/v1/models", headers=encoded)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["type"] == "authentication_error"
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer {OTHER}"},
        {"authorization": f"Bearer   {KEY}"},
        {"x-api-key": KEY},
    ],
    ids=["bearer", "the other key", "spaces", "x-api-key"],
)
async def test_request_with_a_key_is_answered(locked: Live, headers: dict[str, str]) -> None:
    assert (await locked.client.get("/v1/models", headers=headers)).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(("method", "path"), EVERYTHING)
async def test_everything_but_the_probes_is_closed(locked: Live, method: str, path: str) -> None:
    url = httpx.URL(scheme="http", host=locked.client.base_url.host, port=locked.client.base_url.port, path=path)
    assert (await locked.client.request(method, url)).status_code == 401


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/health", "/ready"])
async def test_probes_are_open(locked: Live, path: str) -> None:
    assert (await locked.client.get(path)).status_code == 200


@pytest.mark.anyio
async def test_host_header_opens_nothing(locked: Live) -> None:
    assert (await locked.client.get("/metrics", headers={"host": "x/health?"})).status_code == 401


@pytest.mark.anyio
async def test_openai_client_brings_its_key(locked: Live) -> None:
    url = f"{locked.client.base_url}/v1"
    async with AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        assert "lyra" in [model.id async for model in client.models.list()]
    async with AsyncOpenAI(base_url=url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            await client.models.list()
    assert refused.value.code == "invalid_api_key"


@pytest.mark.anyio
async def test_refusals_are_counted(locked: Live) -> None:
    await locked.client.get("/v1/models")
    metrics = await locked.client.get("/metrics", headers={"x-api-key": KEY})
    assert 'opencharacter_errors_total{kind="invalid_api_key"}' in metrics.text


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "rebound.example"},
        {"host": "127.0.0.1.example"},
        {"host": "[::"},
        {"origin": "https://example.com"},
        {"origin": "http://localhost.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
    ids=lambda headers: next(iter(headers.values())),
)
async def test_without_keys_pages_from_elsewhere_are_refused(unlocked: Live, headers: dict[str, str]) -> None:
    for answer in (
        await unlocked.client.get("/v1/models", headers=headers),
        await unlocked.client.post("/characters", json={"name": "Odo"}, headers=headers),
        await unlocked.client.get("/health", headers=headers),
    ):
        assert answer.status_code == 403
        assert answer.json()["error"]["type"] == "permission_error"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost"},
        {"host": "localhost:8000"},
        {"host": "127.0.0.1:1"},
        {"host": "[::1]:8000"},
        {"origin": "http://localhost:3000"},
        {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
    ids=lambda headers: next(iter(headers.values())),
)
async def test_without_keys_this_machine_is_served(unlocked: Live, headers: dict[str, str]) -> None:
    assert (await unlocked.client.get("/v1/models", headers=headers)).status_code == 200


def test_keys_are_new_each_time() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert len(new_key()) >= 32
