"""Talking with a character: its reply, another one, more of the last one, or the user's own line."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from app.api.chat.channel_stream import open_stream
from app.api.chat.channels import View, content_to_wire
from app.api.chat.fidelity import ReplyFields, fidelity_to_wire
from app.api.chat.resumable import let_go
from app.api.chat.sse import ChatStream, TurnJson, TurnResponse, logprobs_to_wire
from app.api.http.body import JsonRoute
from app.api.http.deps import SettingsDep, TurnsDep
from app.errors import InvalidRequestError
from app.sessions.cast import MOST_CAST
from app.sessions.choice import Choice
from app.sessions.message import Message
from app.sessions.terms import OnConflict, Terms
from app.sessions.turn import RunningTurn

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=JsonRoute)

MAX_CONTENT = 200_000


class TurnRequest(ReplyFields):
    """Sampling for a turn, of which `n` replies are siblings, and what is seen of the reply's channels.

    With `fidelity` the best of n candidates is told and goes on; the others are its siblings.

    With `if_version` the turn is taken only where that is the session's version; `on_conflict` says what is done where
    another turn is running. A `resumable` one goes on without its client, who can take up its stream again.
    """

    stream: bool | None = None
    if_version: int | None = Field(None, ge=0)
    on_conflict: OnConflict | None = None
    resumable: bool | None = None

    def terms(self, request: Request) -> Terms:
        return Terms(self.if_version, self.on_conflict or "reject", request.is_disconnected, self.chooses)


class SpokenRequest(TurnRequest):
    """Who of a cast is to speak, by id or name; the session's turn order says it by default."""

    speaker: str | None = Field(None, max_length=200)


class MessageRequest(SpokenRequest):
    """What the user says; of a cast those in `to` alone hear it, and what is answered."""

    content: str = Field(max_length=MAX_CONTENT)
    to: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=MOST_CAST)] | None = None


class LineRequest(TurnRequest):
    """How the user's line begins, where it does."""

    content: str = Field("", max_length=MAX_CONTENT)


@router.post("/{session_id}/messages", response_model=None)
async def create_message(
    session_id: str, body: MessageRequest, request: Request, turns: TurnsDep, settings: SettingsDep
) -> Response:
    """Say something and get the reply: JSON, or the same frames as chat completions."""
    if not body.content.strip():
        raise InvalidRequestError("`content` is empty: there is nothing to answer", param="content")
    turns.renderer.check_length(body.content)
    params = await body.to_params(turns, temperature=settings.temperature)
    turn = await turns.reply(
        session_id, body.content, params, body.terms(request), speaker=body.speaker, to=body.to or ()
    )
    return respond(turn, body, request)


@router.post("/{session_id}/regenerate", response_model=None)
async def regenerate(
    session_id: str, request: Request, turns: TurnsDep, settings: SettingsDep, body: SpokenRequest | None = None
) -> Response:
    """Another reply to the user's last message; those before are kept beside it. The body may be left out."""
    body = body or SpokenRequest()
    params = await body.to_params(turns, temperature=settings.temperature)
    turn = await turns.regenerate(session_id, params, body.terms(request), speaker=body.speaker)
    return respond(turn, body, request)


@router.post("/{session_id}/continue", response_model=None)
async def continue_(
    session_id: str, request: Request, turns: TurnsDep, settings: SettingsDep, body: TurnRequest | None = None
) -> Response:
    """The last reply, longer, from its last token on, beside the one before. A stream has only what is new."""
    body = body or TurnRequest()
    params = await body.to_params(turns, temperature=settings.temperature)
    return respond(await turns.continue_(session_id, params, body.terms(request)), body, request)


@router.post("/{session_id}/impersonate", response_model=None)
async def impersonate(
    session_id: str, request: Request, turns: TurnsDep, settings: SettingsDep, body: LineRequest | None = None
) -> Response:
    """The user's next line, written by the model; `POST …/regenerate` then has it answered."""
    body = body or LineRequest()
    if body.fidelity:
        raise InvalidRequestError("`fidelity` is to a character's card, and this is the user's line", param="fidelity")
    turns.renderer.check_length(body.content)
    params = await body.to_params(turns, temperature=settings.temperature)
    turn = await turns.impersonate(session_id, params, begun=body.content, terms=body.terms(request))
    return respond(turn, body, request)


def respond(turn: RunningTurn, body: TurnRequest, request: Request) -> Response:
    """The turn as `body` wants it, for as long as its client is there, or to its end."""
    if not body.resumable:
        return answer(turn, body, request)
    return let_go(_stream(turn, body, request), None if body.stream else _json(turn, body, request), request)


def answer(turn: RunningTurn, body: TurnRequest, request: Request) -> TurnResponse:
    """A stream, or JSON."""
    return _stream(turn, body, request) if body.stream else _json(turn, body, request)


def _stream(turn: RunningTurn, body: TurnRequest, request: Request) -> ChatStream:
    assert turn.write is not None
    model, begun = turn.write.session.character_id, turn.write.plan.prefill
    return open_stream(turn, model, request.app.state.respond, body.view, include_usage=True, begun=begun)


def _json(turn: RunningTurn, body: TurnRequest, request: Request) -> TurnJson:
    assert turn.write is not None
    model, shape = turn.write.session.character_id, partial(_turn_to_wire, view=body.view)
    return TurnJson(turn, model, request.app.state.respond, shape)


def _turn_to_wire(answer: TurnJson, view: View) -> dict[str, Any]:
    turn = answer.turn
    told = [_reply_to_wire(message, choice, view) for message, choice in turn.outcome()[: turn.told]]
    messages = {"messages": told} if turn.told > 1 else {}
    fidelity = fidelity_to_wire(turn)
    return {"message": told[0], **messages, "usage": answer.usage(), **fidelity, **answer.session_fields()}


def _reply_to_wire(message: Message, choice: Choice, view: View) -> dict[str, Any]:
    """The whole message, the words included that it went on from."""
    return {
        "id": message.id,
        "role": message.role,
        **({"speaker": message.speaker} if message.speaker else {}),
        **(content_to_wire(message.content, view) if message.role == "assistant" else {"content": message.content}),
        "finish_reason": choice.finish_reason or message.finish_reason,
        **({"logprobs": logprobs_to_wire(choice.logprobs)} if choice.logprobs else {}),
    }
