"""Errors as responses: one body for all of them, counted by kind."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from app.errors import ApiError, InvalidRequestError, NotFoundError, clipped
from app.metrics import Metrics
from characters.card import CardError

logger = logging.getLogger(__name__)

_MOST_FAULTS = 5
_PARTS = ("body", "query", "path", "header")


def responder(metrics: Metrics) -> Callable[[ApiError], Response]:
    """How an ApiError is answered, also by streams that have begun."""

    def respond(error: ApiError) -> Response:
        metrics.errors.labels(error.error_code or error.type).inc()
        if error.status >= 500 and error.__cause__ is not None:
            logger.warning("%s: %s: %s", error.error_code, type(error.__cause__).__name__, error.__cause__)
        return JSONResponse(error.body(), error.status, dict(error.headers))

    return respond


def invalid(faults: Sequence[Any]) -> InvalidRequestError:
    """The first faults that pydantic found (its `errors()`), in one sentence; `param` is the first one's place."""
    places = [clipped(".".join(map(str, _within(fault["loc"])))) for fault in faults]
    told = [f"{place}: {fault['msg']}" if place else fault["msg"] for place, fault in zip(places, faults, strict=True)]
    more = f" (and {len(told) - _MOST_FAULTS} more)" if len(told) > _MOST_FAULTS else ""
    return InvalidRequestError("; ".join(told[:_MOST_FAULTS]) + more, param=places[0] or None)


def _within(place: Sequence[int | str]) -> Sequence[int | str]:
    """The place inside the part of the request that FastAPI names first."""
    return place[1:] if place and place[0] in _PARTS else place


def install(app: FastAPI, respond: Callable[[ApiError], Response]) -> None:
    """Answer whatever a handler raises with OpenAI's error body."""

    async def on_api_error(_: Request, error: ApiError) -> Response:
        return respond(error)

    async def on_invalid(_: Request, error: RequestValidationError | ValidationError) -> Response:
        return respond(invalid(error.errors()))

    async def on_card(_: Request, error: CardError) -> Response:
        return respond(InvalidRequestError(str(error), code=error.code))

    async def on_http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            return respond(NotFoundError(f"there is no {clipped(request.scope['path'])}", code="route_not_found"))
        fault = InvalidRequestError(str(error.detail), code="http_error")
        return JSONResponse(fault.body(), error.status_code, error.headers)

    async def on_disconnect(request: Request, _: ClientDisconnect) -> Response:
        logger.debug("a client went away while it sent %s", clipped(request.scope["path"]))
        # Nobody reads it.
        return Response(status_code=400)

    async def on_bug(_: Request, error: Exception) -> Response:
        logger.error("a request failed unexpectedly", exc_info=error)
        return respond(ApiError("something went wrong in the server; its log says what", code="internal_error"))

    handlers: dict[Any, Any] = {
        ApiError: on_api_error,
        RequestValidationError: on_invalid,
        ValidationError: on_invalid,
        CardError: on_card,
        HTTPException: on_http,
        ClientDisconnect: on_disconnect,
        Exception: on_bug,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
