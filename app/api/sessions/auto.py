"""Characters among themselves: several turns of a session in one request, each committed by itself."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from app.api.chat.sse import TurnResponse
from app.api.http.body import JsonRoute
from app.api.http.deps import SettingsDep, TurnsDep
from app.api.sessions.turns import SpokenRequest, answer
from app.errors import ApiError, InvalidRequestError
from app.sessions.direction import UsersTurn
from app.sessions.logs import DONE
from app.sessions.receipts import part
from app.sessions.terms import Terms
from app.sessions.turn import RunningTurn

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=JsonRoute)

MOST_TURNS = 10

Begin = Callable[[], Awaitable[RunningTurn]]
Answer = Callable[[RunningTurn], TurnResponse]


class AutoRequest(SpokenRequest):
    """How many turns at most; `speaker` has the first one. It ends earlier where it is the user's turn."""

    turns: int = Field(1, ge=1, le=MOST_TURNS)


@router.post("/{session_id}/auto", response_model=None)
async def auto(
    session_id: str, request: Request, turns: TurnsDep, settings: SettingsDep, body: AutoRequest | None = None
) -> Response:
    """Let characters speak on: JSON with each turn, or the frames of one after another. The body may be left out.

    Where a later turn fails, those before it are kept and told in `turns`, beside the `error` and with its status; a
    stream has the error as its last frame.
    """
    body = body or AutoRequest()
    params = await body.to_params(turns, temperature=settings.temperature)
    if body.resumable:
        raise InvalidRequestError("`resumable` is for one turn: several end with their client", param="resumable")
    first = await turns.speak(session_id, params, body.terms(request), speaker=body.speaker)

    async def begin() -> RunningTurn:
        return await turns.speak(session_id, params, Terms(chooses=body.chooses))

    def respond(turn: RunningTurn) -> TurnResponse:
        return answer(turn, body, request)

    return (AutoStream if body.stream else AutoJson)(first, begin, respond, body.turns)


class AutoResponse(Response):
    """Runs one turn after another, until there are enough, one fails, or the client is gone."""

    def __init__(self, first: RunningTurn, begin: Begin, respond: Answer, most: int) -> None:
        super().__init__()
        self._first = first
        self._begin = begin
        self._respond = respond
        self._most = most

    async def turns(self, scope: Scope, receive: Receive, send: Send) -> ApiError | None:
        """Answer each turn through `send`; returns why the next one didn't begin, where it should have."""
        await self._respond(self._first)(scope, receive, send)
        turn = self._first
        for number in range(1, self._most):
            # Nobody is there any more, or it failed: no other one begins.
            if any(choice.finish_reason is None for choice in turn.choices):
                return None
            with part(number):
                try:
                    turn = await self._begin()
                except UsersTurn:
                    return None
                except ApiError as error:
                    return error
                await self._respond(turn)(scope, receive, send)
        return None


class AutoStream(AutoResponse):
    """The turns' frames in one stream; what keeps a later turn from beginning is told in an error frame."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = failed = refused = False

        async def forward(message: Message) -> None:
            nonlocal started, failed, refused
            if message["type"] == "http.response.start":
                refused = message["status"] != 200
                if not started:
                    failed = refused
                    await send(message)
                started = True
            else:
                body = message.get("body", b"")
                if refused and not failed:
                    # A later turn's status would have been another: its error is a frame.
                    body = b"data: " + body + b"\n\n"
                body = body if failed else body.removesuffix(DONE)
                await send({"type": "http.response.body", "body": body, "more_body": not failed})

        error = await self.turns(scope, receive, forward)
        if started and not failed:
            told = b"data: " + orjson.dumps(error.body()) + b"\n\n" if error else b""
            await send({"type": "http.response.body", "body": told + DONE})


class AutoJson(AutoResponse):
    """`{"turns": […]}`, each as a turn alone is answered; where a later one failed, with its `error` and status."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        told: list[dict[str, Any]] = []
        refused: list[Message] = []
        status = 200

        async def keep(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            if status == 200 and message["type"] == "http.response.body":
                told.append(orjson.loads(message["body"]))
            elif status != 200:
                refused.append(message)

        error = await self.turns(scope, receive, keep)
        if refused and not told:
            for message in refused:
                await send(message)
            return
        body: dict[str, Any] = {"turns": told}
        if refused:
            body |= orjson.loads(refused[-1]["body"])
        elif error:
            status = error.status
            body |= error.body()
        # Whoever asks again without an Idempotency-Key has more turns, not these.
        headers = {} if status == 200 else {"x-should-retry": "false"}
        await JSONResponse(body, status, headers)(scope, receive, send)
