"""Request bodies: bounded, strict JSON, whatever Content-Type a client forgot to send.

NaN, lone surrogates, NUL and bottomless nesting are refused here, so that no handler and nothing behind it meets them.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from app.errors import ApiError, BodyTooLargeError, InvalidRequestError

MAX_DEPTH = 64
# How much of an oversized body is read and thrown away, so that the client gets to read the answer.
_DRAIN_FACTOR = 16
_MOST_DRAINED_BYTES = 128 << 20


async def bounded(stream: AsyncIterator[bytes], limit: int) -> AsyncGenerator[bytes]:
    """The pieces of a body. Raises BodyTooLargeError once they have more than `limit` bytes together."""
    size = 0
    async for piece in stream:
        size += len(piece)
        if size <= limit:
            yield piece
        elif size > limit + min(limit * _DRAIN_FACTOR, _MOST_DRAINED_BYTES):
            break
    if size > limit:
        raise BodyTooLargeError(f"the body has more than {limit} bytes")


class JsonRequest(Request):
    """A request whose `json()` is safe to hand on."""

    @property
    def headers(self) -> Headers:
        headers = super().headers
        if headers.get("content-type", "").startswith(("application/json", "multipart/")):
            return headers
        patched = MutableHeaders(raw=list(headers.raw))
        patched["content-type"] = "application/json"
        return patched

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            limit: int = self.app.state.settings.max_body_bytes
            self._body = b"".join([piece async for piece in bounded(self.stream(), limit)])
        return self._body

    async def json(self) -> Any:
        body = await self.body()
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidRequestError(f"the body is not valid JSON: {error}", code="invalid_json") from error
        _check_depth(value)
        if rb"\u0000" in body and _has_nul(value):
            raise InvalidRequestError("the body holds a NUL character (\\u0000)", code="invalid_text")
        return value


class JsonRoute(APIRoute):
    """A route whose handler gets a JsonRequest."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(JsonRequest(request.scope, request.receive))
            except HTTPException as error:
                # FastAPI hides what went wrong with a body behind a 400 of its own.
                if isinstance(error.__cause__, ApiError):
                    raise error.__cause__ from None
                raise

        return handle


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise InvalidRequestError(f"the body is nested more than {MAX_DEPTH} levels deep", code="invalid_json")


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_nul(item) for item in value)
