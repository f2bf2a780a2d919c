"""Everything a client can be told went wrong, as one tree; the body is always OpenAI's error object.

ApiError                    500  server_error
├── InvalidRequestError     400  invalid_request_error
│   ├── ContextLengthError  400  code context_length_exceeded
│   └── BodyTooLargeError   413  code body_too_large
├── AuthenticationError     401  authentication_error
├── NotFoundError           404  not_found_error
├── ConflictError           409  conflict_error, not to be retried as it is
│   ├── SessionBusyError         code session_busy
│   ├── TurnCancelledError       code turn_cancelled
│   ├── VoiceError               code adapter_not_found, adapter_broken, adapters_off
│   ├── IdempotencyBusyError     code idempotency_in_progress, Retry-After
│   └── IdempotencyLostError     code idempotency_result_too_large
├── IdempotencyMismatchError
│                           422  code idempotency_key_reused
├── PreconditionError       412  the ETag in If-Match is not the current one
└── UnavailableError        503  service_unavailable, Retry-After
    └── EngineDownError          code engine_dead
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

# More than this of a name that a client sent isn't told back.
MOST_CHARACTERS_TOLD = 80


def clipped(text: str) -> str:
    """What a client sent, no longer than anybody reads."""
    return text if len(text) <= MOST_CHARACTERS_TOLD else text[:MOST_CHARACTERS_TOLD] + "…"


def quoted(text: object) -> str:
    """The same in quotes, on one line."""
    return repr(clipped(str(text)))


class ApiError(Exception):
    """An HTTP status and OpenAI's error body. `param` names the field at fault."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str | None] = None
    headers: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.error_code = code or self.code

    def body(self) -> dict[str, Any]:
        """`{"error": {message, type, param, code}}`."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.error_code}
        return {"error": error}


class InvalidRequestError(ApiError):
    status = 400
    type = "invalid_request_error"


class ContextLengthError(InvalidRequestError):
    code = "context_length_exceeded"


class BodyTooLargeError(InvalidRequestError):
    status = 413
    code = "body_too_large"


class AuthenticationError(ApiError):
    status = 401
    type = "authentication_error"
    code = "invalid_api_key"
    headers = MappingProxyType({"www-authenticate": "Bearer"})


class ForbiddenError(ApiError):
    status = 403
    type = "permission_error"
    code = "forbidden"


class NotFoundError(ApiError):
    status = 404
    type = "not_found_error"
    code = "not_found"


class ConflictError(ApiError):
    status = 409
    type = "conflict_error"
    code = "conflict"
    # OpenAI's client sends a 409 again by itself, which would double a turn.
    headers = MappingProxyType({"x-should-retry": "false"})


class SessionBusyError(ConflictError):
    code = "session_busy"


class TurnCancelledError(ConflictError):
    code = "turn_cancelled"


class VoiceError(ConflictError):
    code = "adapter_broken"


class IdempotencyBusyError(ConflictError):
    code = "idempotency_in_progress"
    # Whoever sends it again gets what the one under way comes to.
    headers = MappingProxyType({"retry-after": "1", "x-should-retry": "true"})


class IdempotencyLostError(ConflictError):
    code = "idempotency_result_too_large"


class IdempotencyMismatchError(ApiError):
    status = 422
    type = "invalid_request_error"
    code = "idempotency_key_reused"


class PreconditionError(ApiError):
    status = 412
    type = "invalid_request_error"
    code = "etag_mismatch"


class UnavailableError(ApiError):
    status = 503
    type = "service_unavailable"
    code = "unavailable"
    headers = MappingProxyType({"retry-after": "2"})


class EngineDownError(UnavailableError):
    code = "engine_dead"
