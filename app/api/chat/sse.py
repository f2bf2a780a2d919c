"""A turn as an HTTP response: server-sent frames, or one JSON object.

Frames go straight through ASGI's `send`: what is the same in all of them is serialized once per request. The status is
sent with the first chunk, so whatever the engine refuses is still an HTTP error. When the client goes, the turn is
cancelled, which stops the engine and commits what was spoken.
"""

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Any

import anyio
import orjson
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from app.api.chat.channels import View, content_to_wire
from app.api.chat.fidelity import fidelity_to_wire
from app.errors import ApiError
from app.sessions.logs import DONE
from app.sessions.turn import RunningTurn
from models.engine import Chunk, TokenLogprob

logger = logging.getLogger(__name__)

ErrorResponse = Callable[[ApiError], Response]
STREAM_START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache"),
        (b"x-accel-buffering", b"no"),
        (b"x-content-type-options", b"nosniff"),
    ],
}


class TurnResponse(Response):
    """Runs `turn` while the client is there."""

    def __init__(self, turn: RunningTurn, model: str, on_error: ErrorResponse) -> None:
        super().__init__()
        self.turn = turn
        self.model = model
        self.created = int(time.time())
        self.started = False
        self.failure: Response | None = None
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(until_gone, receive, group.cancel_scope.cancel)
            await self.play(scope, receive, send)
            group.cancel_scope.cancel()

    async def play(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the turn and send it, whether or not the client is there."""
        try:
            await self._respond(scope, receive, send)
        except Exception as error:  # the stream boundary: whatever it is, the client is told
            logger.error("a turn failed unexpectedly", exc_info=error)
            bug = ApiError("something went wrong in the server; its log says what", code="internal_error")
            await self._fail(bug, scope, receive, send, started=self.started)

    @abstractmethod
    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the turn and send it. Errors are answered here, never raised."""

    async def _fail(self, error: ApiError, scope: Scope, receive: Receive, send: Send, *, started: bool) -> None:
        """Answer with an HTTP error or, once a stream has begun, with an error frame and [DONE]."""
        answer = self.failure = self._on_error(error)
        if self.turn.may_be_stored:
            # What was spoken is stored, or may be: a client that sends the turn again by itself would double it.
            answer.headers["x-should-retry"] = "false"
        if started:
            body = self._held() + b"data: " + bytes(answer.body) + b"\n\n" + DONE
            await send({"type": "http.response.body", "body": body})
        else:
            await answer(scope, receive, send)

    def _held(self) -> bytes:
        """The frames of what was spoken and not sent yet."""
        return b""

    def usage(self) -> dict[str, Any]:
        """OpenAI's usage object; cached tokens are always told."""
        turn = self.turn
        return {
            "prompt_tokens": turn.prompt_tokens,
            "completion_tokens": turn.completion_tokens,
            "total_tokens": turn.prompt_tokens + turn.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": turn.cached_tokens},
        }

    def session_fields(self) -> dict[str, Any]:
        """Where the turn was written to, once it is."""
        if (write := self.turn.write) is None:
            return {}
        return {
            "session_id": write.session.id,
            "turn_id": write.turn_id,
            "message_id": self.turn.written[0].id if self.turn.written else None,
            **({"message_ids": [message.id for message in self.turn.written]} if len(self.turn.choices) > 1 else {}),
            "version": self.turn.version,
        }


class ChatStream(TurnResponse):
    """`chat.completion.chunk` frames: the role, the content, the finish reason after the commit, usage, [DONE]."""

    def __init__(self, turn: RunningTurn, model: str, on_error: ErrorResponse, *, include_usage: bool) -> None:
        super().__init__(turn, model, on_error)
        # What the first frame says beside the role.
        self.announced: dict[str, Any] = {}
        self._include_usage = include_usage
        self._base = {"id": turn.id, "object": "chat.completion.chunk", "created": self.created, "model": model}
        if turn.write and turn.write.plan.speaker:
            self._base["speaker"] = turn.write.plan.speaker
        self._heads = [self._head(index) for index in range(turn.told)]

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self.turn as turn, aclosing(turn.stream()) as chunks:
                async for chunk in chunks:
                    body = b""
                    if not self.started:
                        self.started = True
                        await send(self._start())
                        body = b"".join(map(self._role, range(len(self._heads))))
                    if chunk.text or chunk.logprobs:
                        body += self._delta(chunk)
                    if body:
                        await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": self._held() + self._end()})
        except ApiError as error:
            await self._fail(error, scope, receive, send, started=self.started)

    def _start(self) -> Message:
        """Of a session's turn it names the turn, by which it can be cancelled."""
        if (write := self.turn.write) is None:
            return STREAM_START
        return {**STREAM_START, "headers": [*STREAM_START["headers"], (b"x-turn-id", write.turn_id.encode())]}

    def _head(self, index: int) -> bytes:
        """A content frame up to the content's JSON string."""
        frame = orjson.dumps({**self._base, "choices": [{"index": index, "delta": {"content": ""}}]})
        return b"data: " + frame.removesuffix(b'""}}]}')

    def _delta(self, chunk: Chunk) -> bytes:
        """What is sent for a chunk: a content frame."""
        content = self._heads[chunk.index] + orjson.dumps(chunk.text)
        if not chunk.logprobs:
            return content + b'},"logprobs":null,"finish_reason":null}]}\n\n'
        logprobs = orjson.dumps(logprobs_to_wire(chunk.logprobs))
        return content + b'},"logprobs":' + logprobs + b',"finish_reason":null}]}\n\n'

    def _role(self, index: int) -> bytes:
        delta = {"role": "assistant", "content": ""}
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        return self._frame({"choices": [choice], **self.announced})

    def _end(self) -> bytes:
        written = self.session_fields()
        finished: list[dict[str, Any]] = [
            {"index": index, "delta": {}, "logprobs": None, "finish_reason": finish_reason(choice.finish_reason)}
            for index, choice in enumerate(self.turn.choices[: self.turn.told])
        ]
        written |= fidelity_to_wire(self.turn)
        body = self._frame({"choices": finished, **written})
        if self._include_usage:
            body += self._frame({"choices": [], "usage": self.usage(), **written})
        return body + DONE

    def _frame(self, fields: dict[str, Any]) -> bytes:
        return b"data: " + orjson.dumps({**self._base, **fields}) + b"\n\n"


class TurnJson(TurnResponse):
    """The finished turn as one JSON object, shaped by `shape`."""

    def __init__(
        self, turn: RunningTurn, model: str, on_error: ErrorResponse, shape: Callable[["TurnJson"], dict[str, Any]]
    ) -> None:
        super().__init__(turn, model, on_error)
        self._shape = shape

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self.turn as turn, aclosing(turn.stream()) as chunks:
                async for _ in chunks:
                    pass
        except ApiError as error:
            await self._fail(error, scope, receive, send, started=False)
        else:
            await self.tell(scope, receive, send)

    async def tell(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the turn, which is over."""
        await JSONResponse(self._shape(self))(scope, receive, send)


def completion_to_wire(answer: TurnJson, view: View = "show", begun: str = "") -> dict[str, Any]:
    """OpenAI's `chat.completion` object, with the channels that `view` shows of a reply that goes on from `begun`."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", **content_to_wire(choice.content, view, begun), "refusal": None},
            "logprobs": logprobs_to_wire(choice.logprobs) if choice.logprobs else None,
            "finish_reason": finish_reason(choice.finish_reason),
        }
        for index, choice in enumerate(answer.turn.choices[: answer.turn.told])
    ]
    return {
        "id": answer.turn.id,
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": choices,
        "usage": answer.usage(),
        **fidelity_to_wire(answer.turn),
        **answer.session_fields(),
    }


def logprobs_to_wire(logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
    """OpenAI's `logprobs` object."""

    def entry(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    content = [
        {**entry(item.token, item.logprob), "top_logprobs": [entry(*pair) for pair in item.top]} for item in logprobs
    ]
    return {"content": content, "refusal": None}


def finish_reason(reason: str | None) -> str:
    """In OpenAI's vocabulary, which knows no abort."""
    return "length" if reason == "length" else "stop"


async def until_gone(receive: Receive, cancel: Callable[[], None]) -> None:
    """Call `cancel` when the client goes."""
    while (await receive())["type"] != "http.disconnect":
        pass
    cancel()
