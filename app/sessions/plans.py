"""The turns that a session can take: what each adds, what it answers, and what its reply begins with. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.errors import InvalidRequestError
from app.sessions.cast import find_member
from app.sessions.ids import new_id
from app.sessions.message import Message, Speaker
from app.sessions.session import Session
from models.sections import IMPERSONATE

Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a turn adds to a session, the message that it answers (None: nothing was said), what a client instructs.

    What is generated becomes a message of `role` under `parent`; `prefill` are the words that it goes on from.
    `trigger` is what kind of reply is asked for, as lorebooks call it, `request` what is said to the model for it.
    `speaker` is the member of a cast who says it, by id or name where a client has chosen, and `seen_by` who hears it.
    """

    added: Sequence[Message]
    parent: str | None
    instructions: str = ""
    trigger: str = "normal"
    role: Speaker = "assistant"
    request: str = ""
    prefill: str = ""
    prefill_ids: Sequence[int] = ()
    speaker: str | None = None
    seen_by: Sequence[str] = ()


def plan_reply(
    session: Session,
    content: str,
    encode: Encode,
    *,
    speaker: str | None = None,
    to: Sequence[str] = (),
) -> Plan:
    """The turn that answers a message of the user's. `speaker` and `to` as of `Turns.reply`."""
    seen_by = tuple(find_member(session.cast, named).character_id for named in to)
    said = Message(new_id("msg"), session.tip, "user", content, encode(content.strip()), seen_by=seen_by)
    return Plan([said], said.id, speaker=speaker, seen_by=seen_by)


def plan_next(session: Session, *, speaker: str | None = None) -> Plan:
    """A turn of a character's, without anything of the user's before it."""
    return Plan([], session.tip, speaker=speaker)


def plan_another(session: Session, *, speaker: str | None = None) -> Plan:
    """Another reply beside the last one; the first, where the user spoke last. Raises InvalidRequestError."""
    last = session.messages[session.tip] if session.tip else None
    if last is None or last.role == "system":
        raise InvalidRequestError("nothing was said: there is nothing to regenerate")
    if last.role == "user":
        return Plan([], last.id, trigger="regenerate", speaker=speaker, seen_by=last.seen_by)
    if last.parent is None:
        raise InvalidRequestError("a greeting can't be regenerated: open a session with another `greeting`")
    return Plan([], last.parent, trigger="regenerate", speaker=speaker or last.speaker, seen_by=last.seen_by)


def plan_continuation(session: Session) -> Plan:
    """The last reply, going on where it ended: a new one beside it. Raises InvalidRequestError when there is none."""
    last = session.messages[session.tip] if session.tip else None
    if last is None or last.role != "assistant":
        raise InvalidRequestError("the last message isn't a reply: there is nothing to continue")
    return Plan(
        [],
        last.parent,
        trigger="continue",
        prefill=last.content,
        prefill_ids=last.token_ids,
        speaker=last.speaker,
        seen_by=last.seen_by,
    )


def plan_impersonation(session: Session, encode: Encode, *, begun: str = "") -> Plan:
    """A line of the user's, written by the model; it goes on from `begun`."""
    prefill_ids = encode(begun) if begun else []
    return Plan(
        [],
        session.tip,
        trigger="impersonate",
        role="user",
        request=IMPERSONATE,
        prefill=begun,
        prefill_ids=prefill_ids,
    )
