"""A turn that goes on without its client: the same frames, numbered, and kept for whoever takes up the stream again.

The turn is played in a task of its own, which hands its frames to the log and to the client that asked for it, if that
is still there. Neither a slow client nor a gone one holds it up.
"""

import asyncio

import anyio
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.api.chat.sse import ChatStream, TurnJson, until_gone
from app.errors import UnavailableError
from app.metrics import Metrics
from app.sessions.logs import DONE, Logs, TurnLog
from app.sessions.running import Running

# Of frames that the client hasn't taken yet; who is further behind is left, and can follow the stream.
MOST_BEHIND_BYTES = 1 << 20
# How a stream ends whose turn was torn off: the server is told to be gone before it could say more.
BROKEN = b"data: %s\n\n" % orjson.dumps(UnavailableError("the server stops", code="turn_lost").body()) + DONE


def let_go(stream: ChatStream, json: TurnJson | None, request: Request) -> "ResumableResponse":
    """The response that plays `stream` to its end; its client gets `json` instead where there is one."""
    state = request.app.state
    return ResumableResponse(stream, json, state.logs, state.turns.running, state.metrics)


class ResumableResponse(Response):
    """Plays `stream`. The client hears it, or gets its turn as `json` in the end."""

    def __init__(
        self, stream: ChatStream, json: TurnJson | None, logs: Logs, running: Running, metrics: Metrics
    ) -> None:
        super().__init__()
        self._stream = stream
        self._json = json
        self._logs = logs
        self._running = running
        self._metrics = metrics
        self._heard = asyncio.Event()
        self._unsent: list[Message] = []
        self._behind = 0
        self._over = False
        self._alone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        write = self._stream.turn.write
        assert write is not None
        log = await self._logs.open(write.session.id, write.turn_id)
        if log is None:
            # It was answered before and is told again, or has lost its session and will say so.
            await (self._json or self._stream)(scope, receive, send)
            return
        self._stream.announced = {"session_id": write.session.id, "turn_id": write.turn_id}
        self._running.let_go(self._play(log, scope, receive))
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(until_gone, receive, group.cancel_scope.cancel)
                await (self._tell(scope, receive, send) if self._json else self._send_all(send))
                group.cancel_scope.cancel()
        finally:
            self._leave()

    async def _play(self, log: TurnLog, scope: Scope, receive: Receive) -> None:
        async def record(message: Message) -> None:
            self._record(log, message)

        try:
            await self._stream.play(scope, receive, record)
        finally:
            self._over = True
            self._heard.set()
            if self._alone:
                self._metrics.detached.dec()
            if not log.ended:
                self._logs.add(log, BROKEN)
            await self._logs.flush()

    def _record(self, log: TurnLog, message: Message) -> None:
        """Log what is sent, and keep it for the client. An error before the first frame is logged as one after it."""
        if message["type"] == "http.response.body" and message.get("body"):
            if self._stream.started:
                message = {**message, "body": self._logs.add(log, message["body"])}
            else:
                self._logs.add(log, b"data: " + message["body"] + b"\n\n" + DONE)
        if not self._alone and not self._json:
            self._unsent.append(message)
            self._behind += len(message.get("body", b""))
            self._heard.set()
        if self._behind > MOST_BEHIND_BYTES:
            self._leave()

    async def _send_all(self, send: Send) -> None:
        """Send what is recorded, as fast as the client takes it; who is left behind gets no end."""
        while self._unsent or not (self._over or self._alone):
            if not self._unsent:
                await self._heard.wait()
                self._heard.clear()
            messages, self._unsent, self._behind = self._unsent, [], 0
            for message in messages:
                await send(message)

    async def _tell(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._json is not None
        while not self._over:
            await self._heard.wait()
            self._heard.clear()
        if self._stream.failure is not None:
            await self._stream.failure(scope, receive, send)
        else:
            await self._json.tell(scope, receive, send)

    def _leave(self) -> None:
        """The client has gone, is too far behind, or has heard it all."""
        self._unsent, self._behind = [], 0
        if not self._over and not self._alone:
            self._alone = True
            self._metrics.detached.inc()
