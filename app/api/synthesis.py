"""A profile from one line: the turn that writes it under the profile's JSON schema, and its response."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from app.api.body import JsonRoute
from app.api.characters import card_to_wire, to_wire, warnings
from app.api.deps import CharactersDep, TurnsDep
from app.api.sse import DONE, STREAM_START, ErrorResponse, TurnResponse
from app.errors import ApiError, ContextLengthError, InvalidRequestError
from app.sessions.turn import RunningTurn
from app.sessions.turns import Turns
from app.store.characters import CharacterRecord
from characters.card import CharacterCard, build_card, slug
from models.synthesis.profiles import ProfileTooLong, build_profile_params, build_profile_turns, parse_profile

router = APIRouter(prefix="/characters", tags=["characters"], route_class=JsonRoute)

TEMPERATURE = 0.8
# Complete fields of a profile's JSON so far: the decoder writes no quotes and no escapes into a value.
_FIELD = re.compile(r'"(\w+)":"([^"]*)"')

Save = Callable[[CharacterCard], Awaitable[CharacterRecord | None]]
Shape = Callable[[CharacterRecord | None, CharacterCard], dict[str, Any]]


class SynthesisRequest(BaseModel):
    """A persona in one line; the same `seed` writes the same character. Null is absent."""

    model_config = ConfigDict(extra="allow")

    persona: str = Field(min_length=1, max_length=1000)
    seed: int | None = Field(None, ge=0, lt=2**63)
    temperature: float | None = Field(None, ge=0, le=2)
    dry_run: bool | None = None
    stream: bool | None = None


@router.post("/synthesize", response_model=None)
async def synthesize_character(
    body: SynthesisRequest, request: Request, turns: TurnsDep, characters: CharactersDep
) -> Response:
    """Write a character from a one-line persona; streamed, its fields arrive one by one."""
    turn = await synthesize(body, turns)

    async def save(card: CharacterCard) -> CharacterRecord | None:
        return None if body.dry_run else await characters.create_unnamed(CharacterRecord(slug(card.data.name), 1, card))

    return ProfileStream(turn, body, save, request.app.state.respond, shape=synthesized)


def synthesized(record: CharacterRecord | None, card: CharacterCard) -> dict[str, Any]:
    """What clients see of a character that was just written; `id` is null when it wasn't saved."""
    return to_wire(record) if record else {"id": None, **card_to_wire(card), "version": 0, "warnings": warnings(card)}


async def synthesize(body: SynthesisRequest, turns: Turns) -> RunningTurn:
    """Begin to write the profile. Raises InvalidRequestError for a persona that says nothing or too much."""
    if not body.persona.strip():
        raise InvalidRequestError("`persona` is empty", param="persona")
    engine = turns.engine
    asked = build_profile_turns(engine.renderer, body.persona)
    try:
        params = build_profile_params(
            len(engine.renderer.render(asked)),
            engine.max_model_len,
            temperature=TEMPERATURE if body.temperature is None else body.temperature,
            seed=body.seed,
        )
    except ProfileTooLong as error:
        raise ContextLengthError(str(error), param="persona") from error
    return await turns.complete(asked, params, endpoint="synthesize")


class ProfileStream(TurnResponse):
    """The character as JSON (201, or 200 for a dry run).

    Streamed: a frame `{"field", "value"}` as each field is complete, then the character, then [DONE].
    """

    def __init__(
        self, turn: RunningTurn, body: SynthesisRequest, save: Save, on_error: ErrorResponse, shape: Shape
    ) -> None:
        super().__init__(turn, "", on_error)
        self._body = body
        self._save = save
        self._shape = shape

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self.turn as turn, aclosing(turn.stream()) as chunks:
                fields = _Fields()
                async for chunk in chunks:
                    if self._body.stream and not self.started:
                        self.started = True
                        await send(STREAM_START)
                    for name, value in fields.feed(chunk.text):
                        if self._body.stream:
                            await send(_frame({"field": name, "value": value}))
            record, card = await self._finish()
        except ApiError as error:
            await self._fail(error, scope, receive, send, started=self.started)
            return
        character = self._shape(record, card)
        if self.started:
            await send(_frame(character))
            await send({"type": "http.response.body", "body": DONE})
            return
        location = {"location": f"/characters/{record.id}"} if record else {}
        response: Response = JSONResponse(character, 201 if record else 200, location)
        await response(scope, receive, send)

    async def _finish(self) -> tuple[CharacterRecord | None, CharacterCard]:
        choice = self.turn.choices[0]
        try:
            profile = parse_profile(choice.content)
        except ValueError as error:
            raise ApiError("the model wrote no complete profile; nothing was saved", code="synthesis_failed") from error
        card = build_card(profile, " ".join(self._body.persona.split()))
        return await self._save(card), card


class _Fields:
    """Tells each field of a profile once, as soon as its value is complete."""

    def __init__(self) -> None:
        self._text = ""
        self._read = 0

    def feed(self, text: str) -> Iterator[tuple[str, str]]:
        self._text += text
        for match in _FIELD.finditer(self._text, self._read):
            self._read = match.end()
            yield match[1], match[2]


def _frame(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "http.response.body", "body": b"data: " + orjson.dumps(value) + b"\n\n", "more_body": True}
