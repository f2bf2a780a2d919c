"""Messages as they are remembered: in exchanges, told apart by what was said, whatever ids copies of it have. Pure."""

from collections.abc import Sequence
from hashlib import blake2b

from app.sessions.message import Message
from app.sessions.session import Session
from models.memory.passages import Said


def exchanges(messages: Sequence[Message]) -> list[list[Message]]:
    """What the user said with the replies to it, in order; the system's messages are left out."""
    groups: list[list[Message]] = []
    for message in messages:
        if message.role == "system" or not message.content.strip():
            continue
        # Not all hear what is whispered: it is remembered apart.
        if message.role == "user" or not groups or message.seen_by != groups[-1][-1].seen_by:
            groups.append([])
        groups[-1].append(message)
    return groups


def last_exchange(messages: Sequence[Message]) -> list[Message]:
    """The last one of `exchanges`, however long it is, without a look at those before."""
    group: list[Message] = []
    for message in reversed(messages):
        if message.role == "system" or not message.content.strip():
            continue
        if group and message.seen_by != group[-1].seen_by:
            break
        group.append(message)
        if message.role == "user":
            break
    return group[::-1]


def source_of(message: Message) -> str:
    """A digest of who says what: the same for the copies of a message that edits and forks make."""
    return digest([message.role, message.speaker or "", *message.seen_by, message.content])


def digest(parts: Sequence[str]) -> str:
    """A short name for a sequence of texts."""
    return blake2b("\0\0".join(parts).encode(), digest_size=12).hexdigest()


def mark_of(messages: Sequence[Message]) -> str:
    """The name under which an exchange is remembered."""
    return digest([source_of(message) for message in messages])


def as_said(session: Session, messages: Sequence[Message]) -> list[Said]:
    """The messages with the names of who speaks, without the system's."""
    return [
        Said(message.id, _speaker(session, message), message.content)
        for message in messages
        if message.role != "system"
    ]


def _speaker(session: Session, message: Message) -> str:
    member = session.member(message.speaker)
    return session.user.name if message.role == "user" else member.name if member else session.card.name
