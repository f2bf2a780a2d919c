"""OpenAI's surface: chat completions and models. Every character is a model id.

`model` names a character, or the engine's own model, which is played raw. With `X-Session-Id` the server keeps the
history: the last message of the user's is the turn, and the first request of a session brings its past along.
"""

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from app.api.chat.channel_stream import open_stream
from app.api.chat.channels import ChannelFields
from app.api.chat.sse import TurnJson, completion_to_wire
from app.api.http.body import JsonRoute
from app.api.http.deps import CharactersDep, SettingsDep, ShelfDep, TurnsDep
from app.errors import ConflictError, InvalidRequestError, NotFoundError, quoted
from app.sessions.session import join_instructions, open_session
from app.sessions.shelf import Shelf
from app.sessions.turn import RunningTurn
from app.sessions.turns import Turns
from app.store.characters import CharacterRecord, CharacterStore
from models.engine import SamplingParams
from models.examples import Line
from models.renderer import Role, Turn
from models.sections import Scene, UserPersona, read_layout

router = APIRouter(prefix="/v1", tags=["OpenAI"], route_class=JsonRoute)

MAX_MESSAGES = 10_000
SESSION_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")


class StreamOptions(BaseModel):
    """Unknown fields are accepted and ignored."""

    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = None


class ChatMessage(BaseModel):
    """One message; its content a string, or text parts that are joined."""

    model_config = ConfigDict(extra="allow")

    role: str = Field(max_length=32)
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        """The content as plain text. Raises InvalidRequestError on parts that aren't text."""
        if not isinstance(self.content, list):
            return self.content or ""
        texts = []
        for part in self.content:
            if part.get("type") not in (None, "text", "input_text") or not isinstance(part.get("text"), str):
                raise InvalidRequestError(
                    f"content parts of type {quoted(part.get('type'))} aren't supported: the model reads text alone",
                    param="messages",
                )
            texts.append(part["text"])
        return "\n".join(texts)


class ChatRequest(ChannelFields):
    """A chat completion request. Unknown fields are accepted and ignored."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


@router.post("/chat/completions", response_model=None)
async def create_chat_completion(
    body: ChatRequest,
    request: Request,
    turns: TurnsDep,
    characters: CharactersDep,
    settings: SettingsDep,
    shelf: ShelfDep,
    session_id: Annotated[str | None, Header(alias="X-Session-Id")] = None,
) -> Response:
    """Answer a conversation, as a character or as the raw model."""
    lines = _lines(body.messages)
    for line in lines:
        turns.check_length(line.text)
    params = await body.to_params(turns, temperature=settings.temperature)
    character = await _character(body.model, turns, characters)
    if session_id:
        turn = await _turn_in_session(session_id, character, lines, params, turns, shelf)
    else:
        turn = await _turn_of_client(character, lines, params, turns, shelf)
    model = character.id if character else turns.engine.model_id
    begun = lines[-1].text if lines[-1].role == "assistant" else ""
    respond = request.app.state.respond
    if body.stream:
        usage = bool(body.stream_options and body.stream_options.include_usage)
        return open_stream(turn, model, respond, body.view, include_usage=usage, begun=begun)
    return TurnJson(turn, model, respond, partial(completion_to_wire, view=body.view, begun=begun))


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


def _lines(messages: Sequence[ChatMessage]) -> list[Line]:
    """What was said, empty messages left out. Roles that no template knows are the user's."""
    roles: dict[str, Role] = {"system": "system", "developer": "system", "assistant": "assistant"}
    lines = [Line(roles.get(message.role, "user"), message.text()) for message in messages]
    lines = [line for line in lines if line.text.strip()]
    if all(line.role == "system" for line in lines):
        raise InvalidRequestError(
            "there is nothing to answer: every message is empty or a system message", param="messages"
        )
    return lines


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


async def _turn_of_client(
    character: CharacterRecord | None, lines: list[Line], params: SamplingParams, turns: Turns, shelf: Shelf
) -> RunningTurn:
    """A turn on the history that the client sent; without a character its messages are all there is."""
    renderer = turns.renderer
    lines = _trimmed(lines)
    if character is None:
        turns.check_length(*(line.text for line in lines))
        return await turns.complete([Turn(line.role, renderer.encode(line.text)) for line in lines], params)
    first = _first_said(lines)
    scene = Scene(character.card, extra=_instructions(lines[:first]), layout=read_layout(character.card))
    return await turns.answer(scene, lines[first:], params, await shelf.books(character.card))


async def _turn_in_session(
    session_id: str,
    character: CharacterRecord | None,
    lines: list[Line],
    params: SamplingParams,
    turns: Turns,
    shelf: Shelf,
) -> RunningTurn:
    """A turn of a session that the server keeps; opened here when it is new, with what was said before."""
    if not SESSION_ID.fullmatch(session_id):
        raise InvalidRequestError(
            "X-Session-Id has 1 to 128 letters, digits and ._:@- characters", param="X-Session-Id"
        )
    last = max((index for index, line in enumerate(lines) if line.role == "user"), default=None)
    if last is None:
        raise InvalidRequestError("a session's turn needs a message of the user's", param="messages")
    said = lines[last].text
    system = [line.text for line in lines if line.role == "system"]
    answer = partial(
        turns.reply,
        session_id,
        said,
        params,
        character_id=character.id if character else None,
        system=system,
        prefill=lines[-1].text if lines[-1].role == "assistant" else "",
        endpoint="chat.completions",
    )
    try:
        return await answer()
    except NotFoundError:
        if character is None:
            raise InvalidRequestError(
                f"there is no session {quoted(session_id)} yet: name a character as `model` to open it", param="model"
            ) from None
    session = open_session(
        character,
        UserPersona(),
        turns.renderer,
        greeting=None,
        extra=_instructions(lines[: _first_said(lines)]),
        session_id=session_id,
        books=await shelf.books(character.card),
        past=[(line.role, line.text) for line in lines[:last] if line.role != "system"],
    )
    session = await turns.preparation.with_head(session)
    turns.check_opening(session, params, said, system)
    # Opened by another request just now: that one has it, or has left it.
    with suppress(ConflictError):
        await turns.sessions.create(session)
    return await answer()


def _first_said(lines: Sequence[Line]) -> int:
    """Where the conversation begins, behind the client's own instructions."""
    return next(index for index, line in enumerate(lines) if line.role != "system")


def _instructions(lines: Sequence[Line]) -> str:
    return join_instructions([line.text for line in lines])


def _trimmed(lines: Sequence[Line]) -> list[Line]:
    """The lines as chat templates trim them; what the assistant has begun is continued to the letter."""
    *others, last = lines
    ending = last if last.role == "assistant" else Line(last.role, last.text.strip())
    return [*(Line(line.role, line.text.strip()) for line in others), ending]
