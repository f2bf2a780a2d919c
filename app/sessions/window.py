"""What of a session's branch its prompts hold: where history begins, and what is told of what came before. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from app.sessions.message import Message
from app.sessions.session import Cut, Session
from models.prompt import PlannedCut, Prompt
from models.renderer import Turn
from models.sections import build_recap

Encode = Callable[[str], Sequence[int]]

# Of the context that what is told of messages before the window may take.
RECAP_SHARE = 1 / 16


def find_start(session: Session, history: Sequence[Message]) -> int:
    """The index of the message with which the prompt of `history` begins, as far as cuts are made by now."""
    roots = {message.root: index for index, message in enumerate(history)}
    windows = (session.window, session.cut.window if session.cut else None)
    return next((roots[root] for window in windows if window and (root := session.root(window)) in roots), 0)


def find_cut(session: Session, cut: Cut | None, history: Sequence[Message]) -> int | None:
    """The index of the message with which prompts begin behind the cut; None on a branch that doesn't go through it."""
    root = session.root(cut.window) if cut else None
    return next((index for index, message in enumerate(history) if message.root == root), None)


def told_until(session: Session, history: Sequence[Message]) -> int:
    """How many messages of `history` are told of behind the head."""
    return find_cut(session, session.cut, history) or 0


def recap_of(session: Session, history: Sequence[Message]) -> str:
    """What is told of messages that the prompt no longer holds; "" on a branch that doesn't go through the cut."""
    if session.cut is None or session.memory == "off" or find_cut(session, session.cut, history) is None:
        return ""
    return session.cut.recap


def planned_cut(
    session: Session, history: Sequence[Message], head: Sequence[Turn], encode: Encode
) -> PlannedCut | None:
    """The cut that was planned for `history`, made behind `head`; None where there is none on this branch."""
    start = find_cut(session, session.planned, history)
    if session.planned is None or start is None:
        return None
    recap = session.planned.recap if session.memory != "off" else ""
    return PlannedCut(start, [*head, *build_recap(encode, recap)])


def cut_by(session: Session, history: Sequence[Message], prompt: Prompt) -> tuple[Session, str | None]:
    """The session as the turn of `prompt` leaves it, and the first message that its prompts hold from then on."""
    window = history[prompt.start].id if prompt.start else None
    if prompt.as_planned:
        session = replace(session, cut=session.planned, planned=None)
    elif prompt.start > find_start(session, history):
        session = replace(session, planned=None)
    return session, window
