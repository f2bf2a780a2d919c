"""Messages of sessions as clients see them, each with its place among its swipes."""

from collections.abc import Sequence
from typing import Any

from anyio import to_thread

from app.api.chat.channels import View, content_to_wire
from app.sessions.message import Message
from app.sessions.session import Session
from app.sessions.tree import Swipes


async def messages_to_wire(session: Session, messages: Sequence[Message], view: View = "show") -> list[dict[str, Any]]:
    """The messages, those of the character's with the channels that `view` shows."""
    # A thousand long replies are a second of work.
    return (
        await to_thread.run_sync(_tell, session, messages, view) if view != "show" else _tell(session, messages, view)
    )


def _tell(session: Session, messages: Sequence[Message], view: View) -> list[dict[str, Any]]:
    swipes = Swipes(session)
    return [_seen(message, view) | _swipe(swipes.of(message), swipes.place(message)) for message in messages]


def _seen(message: Message, view: View) -> dict[str, Any]:
    return message.to_wire() | (content_to_wire(message.content, view) if message.role == "assistant" else {})


def _swipe(siblings: Sequence[Message], index: int) -> dict[str, Any]:
    """Which of its siblings a message is, counted from 0, and those beside it; nothing for an only one."""
    if len(siblings) == 1:
        return {}
    swipe = {
        "index": index,
        "count": len(siblings),
        "previous": siblings[index - 1].id if index else None,
        "next": siblings[index + 1].id if index + 1 < len(siblings) else None,
    }
    return {"swipe": swipe}
