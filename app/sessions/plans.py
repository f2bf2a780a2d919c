"""The turns that a session can take: what each adds, what it answers, and what its reply begins with. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from app.errors import InvalidRequestError
from app.sessions.session import Message, Session, new_id

Encode = Callable[[str], list[int]]

IMPERSONATE = "Write what {{user}} says next, in {{user}}'s own voice. Say nothing for {{char}}."


@dataclass(frozen=True, slots=True)
class Plan:
    """What a turn adds to a session, the message that it answers (None: nothing was said), what a client instructs.

    What is generated becomes a message of `role` under `parent`; `prefill` are the words that it goes on from.
    `trigger` is what kind of reply is asked for, as lorebooks call it, `request` what is said to the model for it.
    """

    added: Sequence[Message]
    parent: str | None
    instructions: str = ""
    trigger: str = "normal"
    role: Literal["user", "assistant"] = "assistant"
    request: str = ""
    prefill: str = ""
    prefill_ids: Sequence[int] = ()


def plan_reply(
    session: Session, content: str, encode: Encode, *, system: Sequence[str] = (), prefill: str = ""
) -> Plan:
    """The turn that answers a message of the user's. `system` as of `Turns.reply`."""
    said = Message(new_id("msg"), session.tip, "user", content, encode(content.strip()))
    prefill_ids = encode(prefill) if prefill else []
    return Plan([said], said.id, session.instructions(system), prefill=prefill, prefill_ids=prefill_ids)


def plan_another(session: Session) -> Plan:
    """Another reply beside the last one; the first, where the user spoke last. Raises InvalidRequestError."""
    last = session.messages[session.tip] if session.tip else None
    if last is None or last.role == "system":
        raise InvalidRequestError("nothing was said: there is nothing to regenerate")
    if last.role == "user":
        return Plan([], last.id, trigger="regenerate")
    if last.parent is None:
        raise InvalidRequestError("a greeting can't be regenerated: open a session with another `greeting`")
    return Plan([], last.parent, trigger="regenerate")


def plan_continuation(session: Session) -> Plan:
    """The last reply, going on where it ended: a new one beside it. Raises InvalidRequestError when there is none."""
    last = session.messages[session.tip] if session.tip else None
    if last is None or last.role != "assistant":
        raise InvalidRequestError("the last message isn't a reply: there is nothing to continue")
    return Plan([], last.parent, trigger="continue", prefill=last.content, prefill_ids=last.token_ids)


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
