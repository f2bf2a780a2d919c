"""OpenAI's surface: chat completions and models. Every character is a model id.

`model` names a character, or the engine's own model, which is played raw. A request that names a session
(`app.api.chat.keys`) brings its transcript or its newest message, and the server keeps the history; without one the
transcript is the history.
"""

import time
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from app.api.chat.answering import Asked
from app.api.chat.asides import find_aside
from app.api.chat.channel_stream import open_stream
from app.api.chat.fidelity import ReplyFields
from app.api.chat.keys import find_key, find_user
from app.api.chat.messages import ChatMessage, read_lines
from app.api.chat.resumable import let_go
from app.api.chat.sse import TurnJson, completion_to_wire
from app.api.http.body import JsonRoute
from app.api.http.deps import CharactersDep, SettingsDep, ShelfDep, TranscriptsDep, TurnsDep
from app.errors import InvalidRequestError, NotFoundError, quoted
from app.sessions.receipts import current_operation
from app.sessions.terms import OnConflict, Terms
from app.sessions.turns import Turns
from app.store.characters import CharacterRecord, CharacterStore

router = APIRouter(prefix="/v1", tags=["OpenAI"], route_class=JsonRoute)

MAX_MESSAGES = 10_000


class StreamOptions(BaseModel):
    """Unknown fields are accepted and ignored."""

    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = None


class ChatRequest(ReplyFields):
    """A chat completion request. Unknown fields are accepted and ignored.

    So are `metadata`, `session_id`, `user`, `task` and `store` where they aren't as `app.api.chat.keys` and
    `app.api.chat.asides` know them: other clients mean other things by them. `on_conflict`, `resumable` and `fidelity`
    are as in `POST /sessions/{id}/messages`.
    """

    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    on_conflict: OnConflict | None = None
    resumable: bool | None = None
    metadata: Any = None
    session_id: Any = None
    user: Any = None
    task: Any = None
    store: Any = None


@router.post("/chat/completions", response_model=None)
async def create_chat_completion(
    body: ChatRequest,
    request: Request,
    turns: TurnsDep,
    characters: CharactersDep,
    settings: SettingsDep,
    shelf: ShelfDep,
    transcripts: TranscriptsDep,
    session_id: Annotated[str | None, Header(alias="X-Session-Id")] = None,
    chat_id: Annotated[str | None, Header(alias="X-OpenWebUI-Chat-Id")] = None,
) -> Response:
    """Answer a conversation, as a character or as the raw model."""
    key = find_key(session_id, chat_id, body.metadata, body.session_id)
    lines = read_lines(body.messages)
    for line in lines:
        turns.renderer.check_length(line.text)
    params = await body.to_params(turns, temperature=settings.temperature)
    character = await _character(body.model, turns, characters)
    if body.resumable and key is None:
        raise InvalidRequestError("`resumable` needs a session to keep the reply: name one", param="resumable")
    terms = Terms(None, body.on_conflict or "reject", request.is_disconnected, body.chooses)
    asked = Asked(character, lines, params, body.view, turns, shelf, transcripts, terms, find_user(body.user))
    if key and (operation := current_operation()):
        # Of an aside the session has no receipt by which its result would be found.
        await request.app.state.claims.attach(operation, key.id)
    turn = await asked.begin(key, find_aside(lines, store=body.store, task=body.task, metadata=body.metadata))
    model = character.id if character else turns.engine.model_id
    begun = lines[-1].text if lines[-1].role == "assistant" else ""
    respond = request.app.state.respond
    usage = bool(body.stream_options and body.stream_options.include_usage)
    stream = open_stream(turn, model, respond, body.view, include_usage=usage, begun=begun)
    json = TurnJson(turn, model, respond, partial(completion_to_wire, view=body.view, begun=begun))
    # An aside leaves no trace, and nothing to come back to.
    if body.resumable and turn.write:
        return let_go(stream, None if body.stream else json, request)
    return stream if body.stream else json


@router.get("/models", response_model=None)
async def list_models(turns: TurnsDep, characters: CharactersDep) -> Response:
    """The engine's model, then every character."""
    ids = [turns.engine.model_id, *await characters.ids()]
    return JSONResponse({"object": "list", "data": [_model(model_id, turns) for model_id in ids]})


@router.get("/models/{model_id:path}")
async def retrieve_model(model_id: str, turns: TurnsDep, characters: CharactersDep) -> dict[str, Any]:
    """One model or character."""
    character = await _character(model_id, turns, characters)
    return _model(character.id if character else turns.engine.model_id, turns)


def _model(model_id: str, turns: Turns) -> dict[str, Any]:
    return {
        "id": model_id,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "opencharacter",
        "root": turns.engine.model_id,
        "max_model_len": turns.engine.max_model_len,
    }


async def _character(model: str | None, turns: Turns, characters: CharacterStore) -> CharacterRecord | None:
    """The character that `model` names; None for the engine's own model, which an empty name means too."""
    if not model or model in (turns.engine.model_id, turns.engine.model):
        return None
    try:
        return await characters.get(model)
    except NotFoundError:
        raise NotFoundError(
            f"there is no model or character {quoted(model)}; GET /v1/models lists them",
            param="model",
            code="model_not_found",
        ) from None
