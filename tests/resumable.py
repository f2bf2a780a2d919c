"""What tests of turns share that go on without their client: two servers on one Redis, and streams that are read."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.types import Message

from models.renderer import Renderer
from tests.fake_engine import FakeEngine, Script
from tests.live import Live, serve_live


@asynccontextmanager
async def two_servers(renderer: Renderer, redis_url: str, **settings: object) -> AsyncIterator[tuple[Live, Live]]:
    """Servers with an engine each, on one Redis."""
    async with (
        serve_live(FakeEngine(renderer), redis_url, **settings) as one,
        serve_live(FakeEngine(renderer), redis_url, **settings) as other,
    ):
        yield one, other


@dataclass(frozen=True)
class Begun:
    """A turn that was begun, whose client has gone after its first words."""

    session: str
    turn_id: str
    heard: str
    number: int

    @property
    def path(self) -> str:
        return f"{self.session}/turns/{self.turn_id}"

    @property
    def stream(self) -> str:
        return f"{self.path}/stream"


async def begin(live: Live, session: str, *, words: int = 3, **fields: Any) -> Begun:
    """Begin a turn that the engine holds after `words`, hear these, and go."""
    live.engine.script = Script(hold_after=words)
    heard = ""
    body = {"content": "Hello.", "stream": True, "resumable": True, **fields}
    async with live.client.stream("POST", f"{session}/messages", json=body) as answer:
        assert answer.status_code == 200
        async for text in answer.aiter_text():
            heard += text
            if f"word{words - 1} " in heard:
                break
    return Begun(session, answer.headers["x-turn-id"], heard, numbers(heard)[-1] if "id: " in heard else 0)


class SlowClient:
    """One whose connection takes no body until it is `taking`: what real sockets hold would hide how slow it is."""

    def __init__(self) -> None:
        self.taking = asyncio.Event()
        self.turn_id = ""
        self.text = ""

    async def post(self, live: Live, path: str, body: dict[str, Any]) -> None:
        """Until the server has answered, and the client has taken it."""
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        messages = [{"type": "http.request", "body": json.dumps(body).encode()}]

        async def receive() -> Message:
            if not messages:
                await asyncio.Event().wait()
            return messages.pop()

        await live.app(scope, receive, self._take)

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.turn_id = dict(message["headers"])[b"x-turn-id"].decode()
        else:
            await self.taking.wait()
            self.text += message["body"].decode()


def frames(text: str) -> list[str]:
    """The frames of a stream, without comments."""
    return [frame for frame in text.split("\n\n") if frame and not frame.startswith(":")]


def numbers(text: str) -> list[int]:
    """The numbers of a stream's frames."""
    return [int(frame.split("\n")[0].removeprefix("id: ")) for frame in frames(text) if frame.startswith("id: ")]


def payloads(text: str) -> list[Any]:
    """What the frames say, without `[DONE]`."""
    lines = [line.removeprefix("data: ") for frame in frames(text) for line in frame.split("\n") if "data: " in line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def spoken(text: str) -> str:
    """The words of a whole stream."""
    choices = [choice for payload in payloads(text) for choice in payload.get("choices", ())]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def ending(text: str) -> dict[str, Any]:
    """The last frame before `[DONE]`."""
    told: dict[str, Any] = payloads(text)[-1]
    return told


async def follow(live: Live, begun: Begun, after: int | None = None) -> str:
    """The stream of a turn from there to its end."""
    answer = await live.client.get(begun.stream, params={} if after is None else {"starting_after": after})
    assert answer.status_code == 200, answer.text
    return answer.text


async def cancel(live: Live, path: str) -> httpx.Response:
    return await live.client.post(f"{path}/cancel")
