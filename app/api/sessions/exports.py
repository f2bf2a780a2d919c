"""Sessions as files to take home: SillyTavern's JSONL or OpenAI's messages."""

from typing import Annotated, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query
from starlette.responses import FileResponse, Response

from app.api.characters.exports import UNSAFE, attachment
from app.api.http.body import JsonRoute
from app.api.http.deps import SessionsDep
from app.api.http.upload import FolderDep
from app.errors import ConflictError
from app.sessions.chats import to_chat
from app.worker.chats import write_chat_file
from characters.card import CardError
from characters.chats.writing import KINDS, ZIP, Format

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=JsonRoute)

Branches = Literal["active", "all"]


@router.get("/{session_id}/export", response_model=None)
async def export_session(
    session_id: str,
    sessions: SessionsDep,
    folder: FolderDep,
    target: Annotated[Format, Query(alias="format", description="SillyTavern's has swipes.")] = "sillytavern",
    branches: Annotated[Branches, Query(description="`all`: a ZIP, each branch a file.")] = "active",
) -> Response:
    """The active branch as a file that front-ends read, and that comes back here unchanged; or every branch."""
    session = await sessions.get(session_id)
    name = UNSAFE.sub("_", session.card.name).strip(" .")[:60] or session.character_id
    path = folder / "export"
    chat = await run_sync(to_chat, session)
    try:
        await run_sync(write_chat_file, chat, target, name if branches == "all" else None, path)
    except CardError as error:
        raise ConflictError(str(error), code=error.code) from None
    kind = ZIP if branches == "all" else KINDS[target]
    headers = {
        "content-disposition": attachment(session.card.name, session.character_id, kind.suffix),
        "cache-control": "private, no-cache",
        "x-content-type-options": "nosniff",
    }
    return FileResponse(path, headers=headers, media_type=kind.media_type)
