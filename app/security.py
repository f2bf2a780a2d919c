"""Who may ask: API keys in front of everything but the probes, as plain ASGI so that streams pass untouched.

Decides on `scope["path"]`: a URL put together from the Host header is the client's invention.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import ApiError, AuthenticationError

OPEN_PATHS = frozenset({"/health", "/ready"})


class ApiKeys:
    """Lets a request through when its `Authorization: Bearer` or `x-api-key` is one of `keys`."""

    def __init__(self, app: ASGIApp, keys: Sequence[SecretStr]) -> None:
        self._app = app
        self._digests = [_digest(key.get_secret_value()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._known(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        error: ApiError = AuthenticationError("a valid API key is needed, as `Authorization: Bearer …`")
        await scope["app"].state.respond(error)(scope, receive, send)

    def _known(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        digest = _digest(given)
        return any(hmac.compare_digest(digest, known) for known in self._digests)


def new_key() -> str:
    """A key of 192 random bits."""
    return f"oc-{secrets.token_urlsafe(24)}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()
