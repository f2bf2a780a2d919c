"""Who may ask: API keys in front of everything but the probes, as plain ASGI so that streams pass untouched.

Decides on `scope["path"]`: a URL put together from the Host header is the client's invention.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import ApiError, AuthenticationError, ForbiddenError
from app.settings import is_loopback

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
        digest = _digest(given_key(headers))
        return any(hmac.compare_digest(digest, known) for known in self._digests)


class LocalOnly:
    """Lets through what this machine's own programs and pages ask: the guard of a server without keys.

    A web page from elsewhere could otherwise post here with no preflight, or bend a name of its own to this address.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin", "")
        places = [f"//{headers.get('host', 'localhost')}", origin if "//" in origin else f"//{origin or 'localhost'}"]
        if headers.get("sec-fetch-site") != "cross-site" and all(map(_is_local, places)):
            await self._app(scope, receive, send)
            return
        error = ForbiddenError(
            "without API keys this server answers programs and pages of its own machine alone: "
            "set OPENCHARACTER_API_KEYS to serve others"
        )
        await scope["app"].state.respond(error)(scope, receive, send)


def _is_local(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def given_key(headers: Headers) -> str:
    """The API key that a request brings, known or not; empty for none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


def new_key() -> str:
    """A key of 192 random bits."""
    return f"oc-{secrets.token_urlsafe(24)}"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()
