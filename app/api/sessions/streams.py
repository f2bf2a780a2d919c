"""A turn under way: taking up the stream of a resumable one again, and cancelling any."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.chat.sse import STREAM_START, ErrorResponse, until_gone
from app.api.http.body import JsonRoute
from app.errors import ApiError, InvalidRequestError, quoted
from app.sessions.cancelling import Cancelling
from app.sessions.following import Follower, Following
from app.sessions.logs import DONE

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=JsonRoute)

_TURN_ID = re.compile(r"turn_[0-9a-f]{32}")
_NUMBER = re.compile(r"[0-9]{1,15}")


@router.get("/{session_id}/turns/{turn_id}/stream", response_model=None)
async def follow_turn(
    session_id: str,
    turn_id: str,
    request: Request,
    starting_after: Annotated[str | None, Query(description="The `id` of the last frame that was heard.")] = None,
    last_event_id: Annotated[str | None, Header(description="The same, as browsers send it; it wins.")] = None,
) -> Response:
    """The frames of a resumable turn from there on, as they come. Nothing is left to tell after the last one: 204."""
    _check(turn_id)
    given = (last_event_id, "Last-Event-ID") if last_event_id else (starting_after, "starting_after")
    following: Following = request.app.state.following
    follower = await following.open(session_id, turn_id, _read_number(*given))
    return Response(status_code=204) if follower.is_over else FollowedStream(follower, request.app.state.respond)


@router.post("/{session_id}/turns/{turn_id}/cancel")
async def cancel_turn(session_id: str, turn_id: str, request: Request) -> dict[str, Any]:
    """Stop a turn, and say what is kept of it: a message, or nothing. The same again for one that is over."""
    _check(turn_id)
    cancelling: Cancelling = request.app.state.cancelling
    session, written = await cancelling.cancel(session_id, turn_id)
    return {
        "session_id": session.id,
        "turn_id": turn_id,
        "message_id": written[0].id if written else None,
        **({"message_ids": [message.id for message in written]} if len(written) > 1 else {}),
        "finish_reason": written[0].finish_reason if written else None,
        "version": session.version,
    }


class FollowedStream(Response):
    """Sends what a follower hears while the client is there."""

    def __init__(self, follower: Follower, on_error: ErrorResponse) -> None:
        super().__init__()
        self._follower = follower
        self._on_error = on_error

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(until_gone, receive, group.cancel_scope.cancel)
            await send(STREAM_START)
            async with aclosing(self._told()) as told:
                async for body in told:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            group.cancel_scope.cancel()

    async def _told(self) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(self._follower.frames()) as frames:
                async for body in frames:
                    yield body
        except ApiError as error:
            # No frame of the turn's, so it has no number: who comes back goes on after the last one that has.
            yield b"data: " + bytes(self._on_error(error).body) + b"\n\n" + DONE


def _check(turn_id: str) -> None:
    if not _TURN_ID.fullmatch(turn_id):
        raise InvalidRequestError(f"{quoted(turn_id)} is no turn's id", param="turn_id", code="invalid_turn_id")


def _read_number(given: str | None, param: str) -> int:
    if not given:
        return 0
    if not _NUMBER.fullmatch(given):
        raise InvalidRequestError(f"{param} is {quoted(given)}: frames are numbered from 1", param=param)
    return int(given)
