"""Sessions as they are: lists, a session with its messages, one branch of it, the swipes of a message."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.api.chat.channels import View
from app.api.http.body import JsonRoute
from app.api.http.deps import SessionsDep
from app.api.sessions.messages import messages_to_wire
from app.errors import NotFoundError, quoted
from app.sessions.cancelling import Cancelling
from app.sessions.message import Message
from app.sessions.session import Session
from app.sessions.tree import Swipes, find_message

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=JsonRoute)

Channels = Annotated[View, Query(description="What is seen of the replies' thoughts and actions.")]
After = Annotated[str | None, Query(description="The id of the last message of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("")
async def list_sessions(
    sessions: SessionsDep,
    cursor: Annotated[int, Query(ge=0, lt=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    user_id: Annotated[str | None, Query(min_length=1, max_length=200, description="Those of a user alone.")] = None,
) -> dict[str, Any]:
    """A page of sessions, newest first; pass `next_cursor` as `cursor` for the next one."""
    shown, following = await sessions.list(offset=cursor, limit=limit, user_id=user_id.strip() if user_id else None)
    return {"sessions": shown, "next_cursor": following}


@router.get("/{session_id}")
async def read_session(
    session_id: str, sessions: SessionsDep, request: Request, channels: Channels = "show"
) -> dict[str, Any]:
    """The session and all messages of its active branch; `turn_id` names the turn that runs, while one does."""
    cancelling: Cancelling = request.app.state.cancelling
    session, turn_id = await sessions.get(session_id), await cancelling.running(session_id)
    running = {"turn_id": turn_id} if turn_id else {}
    return session.to_wire() | running | {"messages": await messages_to_wire(session, session.branch(), channels)}


@router.delete("/{session_id}", status_code=204, response_model=None)
async def delete_session(session_id: str, sessions: SessionsDep) -> Response:
    """Erase the session and everything in it. A turn that runs in it is stopped, and nothing of it is kept."""
    await sessions.delete(session_id)
    return Response(status_code=204)


@router.get("/{session_id}/messages")
async def list_messages(
    session_id: str,
    sessions: SessionsDep,
    branch: Annotated[str | None, Query(description="A message: the branch through it, not the active one.")] = None,
    after: After = None,
    limit: Limit = 200,
    channels: Channels = "show",
) -> dict[str, Any]:
    """A page of a branch, oldest first; pass `next_cursor` as `after` for the next one."""
    session = await sessions.get(session_id)
    tip = Swipes(session).leaf(find_message(session, branch)).id if branch is not None else session.tip
    return await _page(session, session.path(tip), after, limit, channels)


@router.get("/{session_id}/messages/{message_id}/swipes")
async def list_swipes(
    session_id: str,
    message_id: str,
    sessions: SessionsDep,
    after: After = None,
    limit: Limit = 200,
    channels: Channels = "show",
) -> dict[str, Any]:
    """A page of the message and its siblings, oldest first."""
    session = await sessions.get(session_id)
    siblings = Swipes(session).of(find_message(session, message_id))
    return await _page(session, siblings, after, limit, channels)


async def _page(
    session: Session, messages: Sequence[Message], after: str | None, limit: int, view: View
) -> dict[str, Any]:
    ids = [message.id for message in messages]
    if after is not None and after not in ids:
        raise NotFoundError(f"there is no message {quoted(after)} among these", param="after")
    start = ids.index(after) + 1 if after is not None else 0
    page = messages[start : start + limit]
    more = start + limit < len(messages)
    return {"messages": await messages_to_wire(session, page, view), "next_cursor": page[-1].id if more else None}
