"""`Idempotency-Key`: a POST that is sent twice is done once, and answered twice.

A key belongs to whoever sent it, to this path, and for a day. What was answered with a 2xx is kept and sent again as it
was. Errors did nothing, so the key is free to try again; so it is when an answer broke off, and what a session has of
it by then its receipt tells. Plain ASGI, so that streams pass untouched; nothing at all without the header.
"""

import hashlib
import logging
import re
from collections.abc import Coroutine

import anyio
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http.spool import Spool, spooled
from app.api.http.upload import FORM_BYTES, PIECE_BYTES
from app.errors import ApiError, IdempotencyLostError, InvalidRequestError, UnavailableError
from app.security import given_key
from app.sessions.receipts import named
from app.settings import Settings
from app.store.idempotency import Claim, Claims, Result
from app.store.keys import SESSION_ID

logger = logging.getLogger(__name__)

HEADER = "idempotency-key"
REPLAYED = (b"idempotent-replayed", b"true")
# A result that is larger isn't kept: whoever asks again is refused.
MOST_RESULT_BYTES = 4 << 20
_KEY = re.compile(r"[!-~]{1,255}")
# Headers that name a session, and all that say which request it is, beside its body.
_SESSIONS = ("x-session-id", "x-openwebui-chat-id")
_TELLING = (*_SESSIONS, "if-match", "if-none-match")


class Idempotency:
    """Stands behind the API keys, in front of all routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not _is_named(scope):
            await self._app(scope, receive, send)
            return
        state = scope["app"].state
        try:
            name = _name(scope)
            async with spooled(scope, receive, _most_bytes(state.settings)) as body:
                claim = await state.claims.claim(name, _fingerprint(scope, body))
                if isinstance(claim, Result):
                    await _replay(claim, send)
                else:
                    await self._do(scope, body, _Recorder(state.claims, claim, send))
        except ClientDisconnect:
            logger.debug("a client went away while it sent a request with a key")
        except ApiError as error:
            await state.respond(error)(scope, receive, send)

    async def _do(self, scope: Scope, body: Spool, recorder: "_Recorder") -> None:
        try:
            for session_id in _sessions(scope):
                await recorder.attach(session_id)
            with named(recorder.claim.name):
                await self._app(scope, body.receive, recorder.send)
        finally:
            with anyio.CancelScope(shield=True):
                await recorder.close()


class _Recorder:
    """Passes a response on, and keeps it under the claim before its end is sent."""

    def __init__(self, claims: Claims, claim: Claim, send: Send) -> None:
        self.claim = claim
        self._claims = claims
        self._send = send
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False

    async def attach(self, session_id: str) -> None:
        """Have what is kept erased with the session. Raises UnavailableError."""
        await self._claims.attach(self.claim.name, session_id)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            self._size += len(message.get("body", b""))
            if self._size <= MOST_RESULT_BYTES:
                self._pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._end()
        await self._send(message)

    async def close(self) -> None:
        """Free the key of a response that has no end."""
        if not self._ended:
            await self._quietly(self._claims.release(self.claim, untouched=False))

    async def _end(self) -> None:
        self._ended = True
        body = b"".join(self._pieces) if self._size <= MOST_RESULT_BYTES else None
        if 200 <= self._status < 300 and not _has_failed(self._headers, body or b""):
            await self._quietly(self._claims.settle(self.claim, Result(self._status, self._headers, body)))
        else:
            # What has more to tell than an error has done something before it failed.
            untouched = 400 <= self._status < 500 and (body or b"").startswith(b'{"error":')
            await self._quietly(self._claims.release(self.claim, untouched=untouched))

    async def _quietly(self, ending: Coroutine[None, None, None]) -> None:
        """The client's answer doesn't depend on it: a claim runs out by itself."""
        try:
            await ending
        except UnavailableError as error:
            logger.warning("the result of a request with a key was not kept", exc_info=error)


async def _replay(result: Result, send: Send) -> None:
    if result.body is None:
        raise IdempotencyLostError("this was done, but what it was answered is too large to be kept: read it instead")
    headers = [*result.headers, REPLAYED]
    await send({"type": "http.response.start", "status": result.status, "headers": headers})
    for start in range(0, len(result.body), PIECE_BYTES):
        piece = result.body[start : start + PIECE_BYTES]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _has_failed(headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
    """Whether a stream's last event before its [DONE] is an error."""
    if not any(value.startswith(b"text/event-stream") for name, value in headers if name == b"content-type"):
        return False
    events = body.rsplit(b"\n\n", 3)
    return len(events) >= 3 and any(line.startswith(b'data: {"error":{') for line in events[-3].split(b"\n"))


def _is_named(scope: Scope) -> bool:
    return any(name == b"idempotency-key" for name, _ in scope["headers"])


def _sessions(scope: Scope) -> list[str]:
    """The sessions that the request may be about, by its path and its headers."""
    headers = Headers(scope=scope)
    _, _, session_id = scope["path"].partition("/sessions/")
    named = [session_id.partition("/")[0], *(headers.get(name, "") for name in _SESSIONS)]
    return [one for one in dict.fromkeys(named) if SESSION_ID.fullmatch(one)]


def _name(scope: Scope) -> str:
    """What stands for the key of this client on this path. Raises InvalidRequestError."""
    headers = Headers(scope=scope)
    keys = headers.getlist(HEADER)
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise InvalidRequestError(
            "Idempotency-Key is sent once, with 1 to 255 printable ASCII characters and no spaces",
            param="Idempotency-Key",
            code="invalid_idempotency_key",
        )
    return _digest(given_key(headers), scope["path"], keys[0])


def _fingerprint(scope: Scope, body: Spool) -> str:
    """What tells this request from another with the same key."""
    headers = Headers(scope=scope)
    return _digest(scope["query_string"].decode("latin-1"), *(headers.get(name, "") for name in _TELLING), body.sha256)


def _digest(*parts: str) -> str:
    # Lengths keep ("a", "bc") from ("ab", "c").
    told = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(told.encode(errors="surrogatepass")).hexdigest()


def _most_bytes(settings: Settings) -> int:
    """What any route reads."""
    return max(settings.max_body_bytes, settings.max_import_bytes + FORM_BYTES)
