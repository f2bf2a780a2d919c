"""Chats of other programs as sessions: one file, or a ZIP whose files are its branches."""

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from app.api.http.deps import CharactersDep, SessionsDep, SettingsDep, ShelfDep, TurnsDep, WorkerDep
from app.api.http.upload import FIELD, FolderDep, Upload, describe_upload, receive_form
from app.api.sessions.messages import messages_to_wire
from app.api.sessions.opening import SessionRequest, User, open_requested
from app.errors import InvalidRequestError
from app.sessions.chats import with_chat
from app.sessions.session import Session
from app.sessions.tree import check_room
from app.sessions.turns import Turns
from app.worker.chats import read_chat_file
from app.worker.pool import Worker
from characters.card import CardError
from characters.chats.chat import Chat

router = APIRouter(prefix="/sessions", tags=["sessions"])

# Smaller files are read in a thread: a process takes longer to start.
LARGE_BYTES = 4 << 20
# Of a long chat the answer has the end.
MOST_SHOWN = 200

Ids = Annotated[list[str], Query(description="With whom: several are a cast, in which they are known by their names.")]


class ImportFields(BaseModel):
    """What a form or a query says beside the file; the form wins."""

    character_id: list[Annotated[str, Field(max_length=200)]] = Field([], max_length=1000)
    user: str = Field("", max_length=100)
    user_id: str = Field("", max_length=200)

    def to_request(self, chat: Chat) -> SessionRequest:
        """The session to open, which says nothing yet. Raises InvalidRequestError."""
        if not self.character_id:
            raise InvalidRequestError("say with whom: `character_id`", param="character_id")
        user = User(name=self.user or chat.user or None, id=self.user_id or None)
        if len(self.character_id) == 1:
            return SessionRequest(character_id=self.character_id[0], user=user, greeting=None)
        return SessionRequest(character_ids=self.character_id, user=user, greeting=None)


@router.post("/import", status_code=201, response_model=None, openapi_extra=describe_upload())
async def import_session(
    request: Request,
    folder: FolderDep,
    turns: TurnsDep,
    sessions: SessionsDep,
    characters: CharactersDep,
    shelf: ShelfDep,
    worker: WorkerDep,
    settings: SettingsDep,
    character_id: Ids = [],  # noqa: B006 - FastAPI's way to say so
    user: Annotated[str, Query(description="What the user is called; by default as in the file.")] = "",
    user_id: Annotated[str, Query(description="Whose session it is.")] = "",
) -> Response:
    """Open a session with all that was said in a chat of SillyTavern, OpenAI's API, ooba, Agnai or Character.AI.

    The file is a form's `file` or the body; what the query says a form may say, too. The answer has `warnings`.
    """
    uploads, form = await receive_form(request, folder, settings.max_import_bytes, "chat")
    if len(uploads) > 1:
        raise InvalidRequestError(f"{len(uploads)} files are more than one chat: send branches in a ZIP", param=FIELD)
    told = {"character_id": character_id, "user": user, "user_id": user_id}
    told |= {key: form[key] if key == "character_id" else form[key][-1] for key in told.keys() & form.keys()}
    fields = ImportFields.model_validate(told)
    chat = await _read(uploads[0], worker)
    opened = await open_requested(fields.to_request(chat), turns, characters, shelf)
    session = await _plant(opened, chat, turns)
    session = await sessions.create(session)
    turns.afterwards.opened(session)
    return await _answer(session, chat)


async def _read(upload: Upload, worker: Worker) -> Chat:
    """Raises InvalidRequestError for a file that is no chat."""
    try:
        if (await run_sync(upload.path.stat)).st_size > LARGE_BYTES:
            return await worker.run(read_chat_file, upload.path)
        return await run_sync(read_chat_file, upload.path)
    except CardError as error:
        raise InvalidRequestError(str(error), param=FIELD, code=error.code) from None


async def _plant(opened: Session, chat: Chat, turns: Turns) -> Session:
    session = await run_sync(with_chat, opened, chat, turns.renderer.encode)
    check_room(session, 0)
    await turns.voices.check(session)
    session = await turns.preparation.with_head(session)
    turns.prompts.check_opening(session)
    return session


async def _answer(session: Session, chat: Chat) -> Response:
    branch = session.branch()
    shown = await messages_to_wire(session, branch[-MOST_SHOWN:])
    wire: dict[str, Any] = session.to_wire() | {
        "messages": shown,
        "message_count": len(session.messages),
        "branch_length": len(branch),
        "warnings": list(chat.warnings),
    }
    return JSONResponse(wire, 201, {"location": f"/sessions/{session.id}"})
