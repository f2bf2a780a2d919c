"""Profiles as they are written, and the characters that come of them: server-sent frames, or one JSON object."""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from app.api.sse import DONE, STREAM_START, ErrorResponse, TurnResponse
from app.errors import ApiError
from app.sessions.turn import RunningTurn
from models.synthesis.form import Form

# Complete fields of a profile's JSON so far: the decoder writes no quotes and no escapes into a value.
_FIELD = re.compile(r'"(\w+)":"([^"]*)"')

Wire = dict[str, Any]
Written = dict[str, str]
Keep = Callable[[Written], Awaitable[Wire]]


class ProfileStream(TurnResponse):
    """The characters that `keep` makes of what the turn writes, as JSON: one as it is, several as `{"characters"}`.

    Streamed: a frame `{"field", "value"}` as each field is complete, with its character's `index` where there are
    several; then a frame for each character, then [DONE].
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
        try:
            made = [await self._keep(written) for written in await self._write(send)]
        except ApiError as error:
            await self._fail(error, scope, receive, send, started=self.started)
        else:
            await self._answer(made, scope, receive, send)

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

    async def _answer(self, made: list[Wire], scope: Scope, receive: Receive, send: Send) -> None:
        if self._streamed:
            await self._send(send, made)
            await send({"type": "http.response.body", "body": DONE})
            return
        if self._several:
            await JSONResponse({"characters": made}, self._status)(scope, receive, send)
            return
        [one] = made
        location = {"location": f"/characters/{one['id']}"} if self._status == 201 else {}
        await JSONResponse(one, self._status, location)(scope, receive, send)

    async def _send(self, send: Send, values: Iterable[Wire]) -> None:
        """A frame for each value, where the answer is a stream."""
        body = b"".join(b"data: " + orjson.dumps(value) + b"\n\n" for value in values)
        if self._streamed and body:
            await send({"type": "http.response.body", "body": body, "more_body": True})


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
