"""Which session a chat completion belongs to, and whom, by what clients send to name their chats and users."""

from dataclasses import dataclass
from typing import Any

from app.errors import InvalidRequestError
from app.store.keys import SESSION_ID

MOST_USER_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session's id. The clients of a `front_end` send whole transcripts alone, under the id of a chat of theirs."""

    id: str
    front_end: bool = False


def find_key(session_header: str | None, chat_header: str | None, metadata: Any, session_id: Any) -> SessionKey | None:
    """The session that a request names: in X-Session-Id, X-OpenWebUI-Chat-Id, `metadata.chat_id` or `session_id`.

    The first of these counts that isn't empty. Raises InvalidRequestError where it can't be an id.
    """
    chat_id = metadata.get("chat_id") if isinstance(metadata, dict) else None
    named = [
        ("X-Session-Id", session_header, False),
        ("X-OpenWebUI-Chat-Id", chat_header, True),
        ("metadata.chat_id", chat_id, True),
        ("session_id", session_id, False),
    ]
    for name, value, front_end in named:
        if value in (None, ""):
            continue
        if not isinstance(value, str) or not SESSION_ID.fullmatch(value):
            raise InvalidRequestError(f"{name} has 1 to 128 letters, digits and ._:@- characters", param=name)
        return SessionKey(value, front_end)
    return None


def find_user(user: Any) -> str | None:
    """The id of the user in OpenAI's `user`, which Open WebUI's pipelines send as an object that has it.

    Raises InvalidRequestError for one that is too long.
    """
    named = user.get("id") if isinstance(user, dict) else user
    if not isinstance(named, str) or not named.strip():
        return None
    if len(named) > MOST_USER_CHARACTERS:
        raise InvalidRequestError(f"`user` has at most {MOST_USER_CHARACTERS} characters", param="user")
    return named.strip()
