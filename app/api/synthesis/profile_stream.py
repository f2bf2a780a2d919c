"""Profiles as they are written, and the characters that come of them: server-sent frames, or one JSON object."""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import Any

import orjson
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from app.api.chat.sse import STREAM_START, ErrorResponse, TurnResponse
from app.errors import ApiError
from app.sessions.logs import DONE
from app.sessions.turn import RunningTurn
from models.synthesis.form import Form

# Complete fields of a profile's JSON so far: the decoder writes no quotes and no escapes into a value.
_FIELD = re.compile(r'"(\w+)":"([^"]*)"')

Wire = dict[str, Any]
Written = dict[str, str]
NOTHING: Mapping[str, Any] = MappingProxyType({})
Keep = Callable[[Written], Awaitable[Wire]]


class ProfileStream(TurnResponse):
    """The characters that `keep` makes of what the turn writes, as `answer_json` has them.

    Streamed: a frame `{"field", "value"}` as each field is complete, with its character's `index` where there are
    several; then a frame for each character, after the error of the next one where that failed; then [DONE].
    """

    def __init__(
        self,
        turn: RunningTurn,
        form: Form,
        keep: Keep,
        on_error: ErrorResponse,
        *,
        status: int,
        streamed: bool,
        several: bool,
    ) -> None:
        super().__init__(turn, "", on_error)
        self._form = form
        self._keep = keep
        self._status = status
        self._streamed = streamed
        self._several = several

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        made: list[Wire] = []
        told: Wire = {"error": None}
        try:
            await self._make(made, send)
        except ApiError as error:
            if not made:
                await self._fail(error, scope, receive, send, started=self.started)
                return
            told = orjson.loads(self._on_error(error).body)
            await self._send(send, [told])
        await self._answer(made, told, scope, receive, send)

    async def _make(self, made: list[Wire], send: Send) -> None:
        """Add to `made` what is kept, one by one: a failure keeps those before it."""
        for written in await self._write(send):
            kept = await self._keep(written)
            made.append(kept)

    async def _write(self, send: Send, known: Mapping[str, str] | None = None) -> list[Written]:
        """Run the turn and send its fields but those that are `known` to be so. Returns those of each choice."""
        async with self.turn as turn, aclosing(turn.stream()) as chunks:
            fields = [_Fields() for _ in turn.choices]
            async for chunk in chunks:
                if self._streamed and not self.started:
                    self.started = True
                    await send(STREAM_START)
                    await self._send(send, self._opening())
                index: Wire = {"index": chunk.index} if len(fields) > 1 else {}
                complete = fields[chunk.index].feed(chunk.text)
                told = [(name, value) for name, value in complete if name in self._form.lengths]
                new = [(name, value) for name, value in told if not known or known.get(name) != value]
                await self._send(send, [{**index, "field": name, "value": value} for name, value in new])
        try:
            return [self._form.parse(choice.content) for choice in self.turn.choices]
        except ValueError as error:
            raise ApiError("the model wrote no complete profile: it wasn't saved", code="synthesis_failed") from error

    def _opening(self) -> list[Wire]:
        """The frames that a stream begins with."""
        return []

    async def _answer(self, made: list[Wire], told: Wire, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what was made; `told` is the error that ended it early, or has none."""
        if self._streamed:
            await self._send(send, made)
            await send({"type": "http.response.body", "body": DONE})
            return
        beside = told if told["error"] else {}
        await answer_json(made, self._status, beside, several=self._several)(scope, receive, send)

    async def _send(self, send: Send, values: Iterable[Wire]) -> None:
        """A frame for each value, where the answer is a stream."""
        body = _frames(values)
        if self._streamed and body:
            await send({"type": "http.response.body", "body": body, "more_body": True})


def answer_json(made: list[Wire], status: int, beside: Mapping[str, Any] = NOTHING, *, several: bool) -> Response:
    """One character as it is, several as `{"characters"}` with what is to be said `beside` them."""
    if several:
        return JSONResponse({"characters": made, **beside}, status)
    [one] = made
    return JSONResponse(one, status, {"location": f"/characters/{one['id']}"} if status == 201 else {})


def answer_stream(made: list[Wire]) -> Response:
    """The end of a stream whose fields were all there before."""
    return Response(_frames(made) + DONE, headers={"cache-control": "no-cache"}, media_type="text/event-stream")


async def answer_unasked(keep: Keep, n: int, on_error: ErrorResponse, *, status: int, streamed: bool) -> Response:
    """The answer with `n` characters that no model is asked for; those before a failure are told, and the failure.

    Raises what `keep` raises of the first one.
    """
    made: list[Wire] = []
    failed: Wire = {}
    try:
        for _ in range(n):
            kept = await keep({})
            made.append(kept)
    except ApiError as error:
        if not made:
            raise
        failed = orjson.loads(on_error(error).body)
    if streamed:
        return answer_stream([failed, *made] if failed else made)
    return answer_json(made, status, failed, several=n > 1)


def _frames(values: Iterable[Wire]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(value) + b"\n\n" for value in values)


class _Fields:
    """Tells each field of a profile once, as soon as its value is complete."""

    def __init__(self) -> None:
        self._text = ""
        self._read = 0

    def feed(self, text: str) -> Iterator[tuple[str, str]]:
        self._text += text
        for match in _FIELD.finditer(self._text, self._read):
            self._read = match.end()
            yield match[1], match[2]
