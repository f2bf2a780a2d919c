"""Changing what was said: edit, delete, swipes, forks, undo and checkpoints. Nothing of it is lost."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from app.api.http.body import JsonRoute
from app.api.http.deps import MemoryDep, SessionsDep, TurnsDep
from app.api.sessions.messages import messages_to_wire
from app.api.sessions.turns import MAX_CONTENT
from app.errors import InvalidRequestError
from app.sessions import tree
from app.sessions.session import Session
from app.sessions.terms import Terms
from app.sessions.turns import Turns

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=JsonRoute)

IfVersion = Annotated[int | None, Query(ge=0, description="The only version that may be changed.")]
CheckpointName = Annotated[str, Path(min_length=1, max_length=100)]


class ChangeRequest(BaseModel):
    """`if_version` is the only version that may be changed; null is any."""

    if_version: int | None = Field(None, ge=0)

    def terms(self) -> Terms:
        return Terms(self.if_version)


class EditRequest(ChangeRequest):
    """What the message says from now on."""

    content: str = Field(max_length=MAX_CONTENT)


class SelectRequest(ChangeRequest):
    """Whether the conversation goes on behind the message as it did, or ends there."""

    following: bool = True


class ForkRequest(ChangeRequest):
    """The last message of the new session; by default the last one of this."""

    message_id: str | None = Field(None, max_length=100)


class CheckpointRequest(ChangeRequest):
    """The message that gets the name; by default the last one."""

    message_id: str | None = Field(None, max_length=100)


@router.patch("/{session_id}/messages/{message_id}")
async def edit_message(session_id: str, message_id: str, body: EditRequest, turns: TurnsDep) -> dict[str, Any]:
    """Say it otherwise: a new message beside the one before, and copies behind it of all that follows."""
    if not body.content.strip():
        raise InvalidRequestError("`content` is empty: delete the message instead", param="content")
    turns.renderer.check_length(body.content)
    edited = ""

    def change(session: Session) -> tree.Change:
        nonlocal edited
        changed = tree.edit(session, message_id, body.content, turns.renderer.encode)
        edited = changed.added[0].id
        return changed

    session, turn_id = await turns.rearrange(session_id, change, body.terms())
    return await _changed(session, turn_id, edited)


@router.delete("/{session_id}/messages/{message_id}")
async def delete_message(
    session_id: str,
    message_id: str,
    turns: TurnsDep,
    following: Annotated[bool, Query(description="Delete all that comes after it, too.")] = False,
    if_version: IfVersion = None,
) -> dict[str, Any]:
    """Take a message out of the active branch; `undo` brings it back. Delete the session to erase what was said."""

    def change(session: Session) -> tree.Change:
        return tree.delete(session, message_id, following=following)

    return await _rearranged(turns, session_id, change, Terms(if_version))


@router.post("/{session_id}/messages/{message_id}/select")
async def select_message(
    session_id: str, message_id: str, turns: TurnsDep, body: SelectRequest | None = None
) -> dict[str, Any]:
    """Go on with this message: a swipe, or any branch. The body may be left out."""
    body = body or SelectRequest()

    def change(session: Session) -> tree.Change:
        return tree.select(session, message_id, following=body.following)

    return await _rearranged(turns, session_id, change, body.terms())


@router.post("/{session_id}/undo")
async def undo(session_id: str, turns: TurnsDep, body: ChangeRequest | None = None) -> dict[str, Any]:
    """Back to the branch as it was before the last turn or change; again for the one before that."""
    return await _rearranged(turns, session_id, tree.undo, (body or ChangeRequest()).terms())


@router.post("/{session_id}/fork", status_code=201, response_model=None)
async def fork(
    session_id: str, turns: TurnsDep, sessions: SessionsDep, memory: MemoryDep, body: ForkRequest | None = None
) -> Response:
    """A new session that begins with what was said up to a message, and remembers it."""
    body = body or ForkRequest()
    session = await turns.preparation.renew(await sessions.get(session_id))
    body.terms().check(session)
    message_id = body.message_id or session.tip
    if message_id is None:
        raise InvalidRequestError("nothing was said yet: open another session instead", param="message_id")
    forked = await sessions.create(tree.fork(session, message_id))
    await memory.store.copy(session_id, forked.id)
    wire = forked.to_wire() | {"messages": await messages_to_wire(forked, forked.branch())}
    return JSONResponse(wire, 201, {"location": f"/sessions/{forked.id}"})


@router.put("/{session_id}/checkpoints/{name}")
async def set_checkpoint(
    session_id: str, name: CheckpointName, turns: TurnsDep, body: CheckpointRequest | None = None
) -> dict[str, Any]:
    """Give a message a name to come back to; a name that there is moves."""
    body = body or CheckpointRequest()

    def change(session: Session) -> tree.Change:
        return tree.mark(session, name, body.message_id)

    return await _marked(turns, session_id, change, body.terms())


@router.delete("/{session_id}/checkpoints/{name}")
async def delete_checkpoint(
    session_id: str, name: CheckpointName, turns: TurnsDep, if_version: IfVersion = None
) -> dict[str, Any]:
    """Forget the name; the message stays."""

    def change(session: Session) -> tree.Change:
        return tree.unmark(session, name)

    return await _marked(turns, session_id, change, Terms(if_version))


@router.post("/{session_id}/checkpoints/{name}/restore")
async def restore_checkpoint(
    session_id: str, name: CheckpointName, turns: TurnsDep, body: ChangeRequest | None = None
) -> dict[str, Any]:
    """Go back to the message of that name: the conversation ends there."""

    def change(session: Session) -> tree.Change:
        return tree.select(session, tree.find_checkpoint(session, name), following=False)

    return await _rearranged(turns, session_id, change, (body or ChangeRequest()).terms())


async def _rearranged(
    turns: Turns, session_id: str, change: Callable[[Session], tree.Change], terms: Terms
) -> dict[str, Any]:
    session, turn_id = await turns.rearrange(session_id, change, terms)
    return await _changed(session, turn_id, session.tip)


async def _marked(
    turns: Turns, session_id: str, change: Callable[[Session], tree.Change], terms: Terms
) -> dict[str, Any]:
    session, _ = await turns.rearrange(session_id, change, terms)
    return {"session_id": session.id, "version": session.version, "checkpoints": dict(session.checkpoints)}


async def _changed(session: Session, turn_id: str, message_id: str | None) -> dict[str, Any]:
    """What a change made of the session; `message_id` is the message that it was about, None where none is left."""
    told = [session.messages[message_id]] if message_id else []
    wire = await messages_to_wire(session, told)
    return {
        "session_id": session.id,
        "version": session.version,
        "turn_id": turn_id,
        "message_id": message_id,
        "message": wire[0] if wire else None,
    }
