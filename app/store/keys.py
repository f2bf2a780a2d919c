"""The keys of a session in Redis, all in one hash slot: that of its id, which stands between braces."""

import re

from app.errors import NotFoundError, quoted

SESSION_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")


def session_key(session_id: str, part: str) -> str:
    """The key of a part. Raises NotFoundError for what is no session's id: a brace in it would move the slot."""
    if not SESSION_ID.fullmatch(session_id):
        raise unknown_session(session_id)
    return f"oc:{{{session_id}}}:{part}"


def unknown_session(session_id: str) -> NotFoundError:
    """What is said of an id that no session has."""
    return NotFoundError(f"there is no session {quoted(session_id)}", code="session_not_found")
