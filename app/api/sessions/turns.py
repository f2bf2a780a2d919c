"""Sessions: talk with a character, and look back."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from app.api.chat.channel_stream import open_stream
from app.api.chat.channels import ChannelFields, View, content_to_wire
from app.api.chat.sse import TurnJson, logprobs_to_wire
from app.api.http.body import JsonRoute
from app.api.http.deps import SessionsDep, SettingsDep, TurnsDep
from app.errors import InvalidRequestError, NotFoundError, quoted
from app.sessions.session import Message
from app.sessions.turn import RunningTurn

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=JsonRoute)

Channels = Annotated[View, Query(description="What is seen of the replies' thoughts and actions.")]


class TurnRequest(ChannelFields):
    """Sampling for a turn, `n` must be 1, and what is seen of the reply's channels."""

    stream: bool | None = None


class MessageRequest(TurnRequest):
    """What the user says."""

    content: str = Field(max_length=200_000)


@router.get("")
async def list_sessions(
    sessions: SessionsDep,
    cursor: Annotated[int, Query(ge=0, lt=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """A page of sessions, newest first; pass `next_cursor` as `cursor` for the next one."""
    shown, following = await sessions.list(offset=cursor, limit=limit)
    return {"sessions": shown, "next_cursor": following}


@router.get("/{session_id}")
async def read_session(session_id: str, sessions: SessionsDep, channels: Channels = "show") -> dict[str, Any]:
    """The session and all messages of its active branch."""
    session = await sessions.get(session_id)
    return session.to_wire() | {"messages": await _seen(session.branch(), channels)}


@router.delete("/{session_id}", status_code=204, response_model=None)
async def delete_session(session_id: str, sessions: SessionsDep) -> Response:
    """Erase the session and everything in it."""
    await sessions.delete(session_id)
    return Response(status_code=204)


@router.get("/{session_id}/messages")
async def list_messages(
    session_id: str,
    sessions: SessionsDep,
    after: Annotated[str | None, Query(description="The id of the last message of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    channels: Channels = "show",
) -> dict[str, Any]:
    """A page of the active branch, oldest first; pass `next_cursor` as `after` for the next one."""
    branch = (await sessions.get(session_id)).branch()
    ids = [message.id for message in branch]
    if after is not None and after not in ids:
        raise NotFoundError(f"there is no message {quoted(after)} on the active branch", param="after")
    start = ids.index(after) + 1 if after is not None else 0
    page = branch[start : start + limit]
    more = start + limit < len(branch)
    return {"messages": await _seen(page, channels), "next_cursor": page[-1].id if more else None}


@router.post("/{session_id}/messages", response_model=None)
async def create_message(
    session_id: str, body: MessageRequest, request: Request, turns: TurnsDep, settings: SettingsDep
) -> Response:
    """Say something and get the reply: JSON, or the same frames as chat completions."""
    if not body.content.strip():
        raise InvalidRequestError("`content` is empty: there is nothing to answer", param="content")
    turns.check_length(body.content)
    params = await body.to_params(turns, temperature=settings.temperature)
    return _answer(await turns.reply(session_id, body.content, params), body, request)


@router.post("/{session_id}/regenerate", response_model=None)
async def regenerate(
    session_id: str, request: Request, turns: TurnsDep, settings: SettingsDep, body: TurnRequest | None = None
) -> Response:
    """Another reply to the same message; the one before is kept beside it. The body may be left out."""
    body = body or TurnRequest()
    params = await body.to_params(turns, temperature=settings.temperature)
    return _answer(await turns.regenerate(session_id, params), body, request)


async def _seen(messages: Sequence[Message], view: View) -> list[dict[str, Any]]:
    """The messages, those of the character's with the channels that `view` shows."""
    # A thousand long replies are a second of work.
    return await to_thread.run_sync(_tell, messages, view) if view != "show" else _tell(messages, view)


def _tell(messages: Sequence[Message], view: View) -> list[dict[str, Any]]:
    return [
        message.to_wire() | (content_to_wire(message.content, view) if message.role == "assistant" else {})
        for message in messages
    ]


def _answer(turn: RunningTurn, body: TurnRequest, request: Request) -> Response:
    assert turn.write is not None
    model = turn.write.session.character_id
    if body.stream:
        return open_stream(turn, model, request.app.state.respond, body.view, include_usage=True)
    return TurnJson(turn, model, request.app.state.respond, partial(_turn_to_wire, view=body.view))


def _turn_to_wire(answer: TurnJson, view: View) -> dict[str, Any]:
    turn = answer.turn
    assert turn.write is not None
    reason = turn.choices[0].finish_reason
    message = {
        "id": turn.write.message_id,
        "role": "assistant",
        **content_to_wire(turn.choices[0].content, view),
        "finish_reason": reason,
        **({"logprobs": logprobs_to_wire(turn.choices[0].logprobs)} if turn.choices[0].logprobs else {}),
    }
    return {"message": message, "usage": answer.usage(), **answer.session_fields()}
