"""What can be done to a session's tree of messages beside talking: pure, each a change that is committed at once.

What messages say never changes, and they never leave the tree. To edit or delete one of the active branch is to write
what follows it anew, under other parents: the active branch is another one then, and the one before is still there.
What prompts begin with, and are told of what came before, is the same on both.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from app.errors import ConflictError, InvalidRequestError, NotFoundError, quoted
from app.sessions.ids import new_id
from app.sessions.message import Message
from app.sessions.session import Cut, Session

Encode = Callable[[str], list[int]]

# Of all branches together; a session is read whole for each of its turns.
MOST_MESSAGES = 20_000
MOST_CHECKPOINTS = 200


@dataclass(frozen=True, slots=True)
class Change:
    """New messages, or some that are removed or not any more; where the active branch ends and its prompt begins.

    `undo` are the tips that can be gone back to; None where the one before joins them. `checkpoints` are all names of
    messages, where those change.
    """

    added: Sequence[Message]
    tip: str | None
    window: str | None
    undo: Sequence[str] | None = None
    checkpoints: Mapping[str, str] | None = None


def find_message(session: Session, message_id: str) -> Message:
    """Raises NotFoundError for an id that is no message of this session's."""
    try:
        return session.messages[message_id]
    except KeyError:
        told = f"the session {session.id!r} has no message {quoted(message_id)}"
        raise NotFoundError(told, param="message_id", code="message_not_found") from None


def check_room(session: Session, more: int) -> None:
    """Raise ConflictError when the session can't hold `more` messages."""
    if len(session.messages) + more > MOST_MESSAGES:
        told = f"the session has {len(session.messages)} messages, and holds {MOST_MESSAGES}: go on in a fork of it"
        raise ConflictError(told, code="session_full")


class Swipes:
    """Who is whose sibling, for looking many messages up."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._children: dict[str | None, list[Message]] = {}
        for message in session.visible():
            self._children.setdefault(message.parent, []).append(message)
        for children in self._children.values():
            # Copies have the time of what they copy, and a hash no order.
            children.sort(key=lambda message: (message.created, message.id))
        self._siblings: dict[tuple[str | None, str], list[Message]] = {}
        self._places: dict[str, int] = {}
        for children in self._children.values():
            for message in children:
                siblings = self._siblings.setdefault((message.parent, message.role), [])
                self._places[message.id] = len(siblings)
                siblings.append(message)

    def of(self, message: Message) -> Sequence[Message]:
        """The message and its siblings, the oldest first; one that was removed is alone."""
        return self._siblings[message.parent, message.role] if message.id in self._places else [message]

    def place(self, message: Message) -> int:
        """Which of them it is, counted from 0."""
        return self._places.get(message.id, 0)

    def leaf(self, message: Message) -> Message:
        """Where the branch through `message` ends: on the active branch there, else with the newest of each."""
        active = self._session.branch()
        if message in active:
            return active[-1]
        while children := self._children.get(message.id):
            message = children[-1]
        return message


def edit(session: Session, message_id: str, content: str, encode: Encode) -> Change:
    """The message said otherwise, and what follows it on its branch as it was."""
    message = find_message(session, message_id)
    edited = replace(
        message,
        id=new_id("msg"),
        content=content,
        token_ids=encode(content.strip()),
        finish_reason=None,
        created=time.time(),
        turn_id=None,
        origin=message.root,
        removed=False,
    )
    return _replanted(session, message, edited)


def delete(session: Session, message_id: str, *, following: bool = False) -> Change:
    """The branch without the message; with `following`, without what comes after it, too.

    A message that isn't on the active branch is removed from its siblings, and the branch stays as it is.
    """
    message = find_message(session, message_id)
    if message not in session.branch():
        return Change([replace(message, removed=True)], session.tip, session.window)
    return _moved(session, message.parent) if following else _replanted(session, message, None)


def select(session: Session, message_id: str, *, following: bool = True) -> Change:
    """The branch through the message, which is removed no more; without `following` it ends there."""
    message = find_message(session, message_id)
    return _moved(session, Swipes(session).leaf(message).id if following else message.id)


def undo(session: Session) -> Change:
    """The branch as it was before it last changed. Raises ConflictError at the beginning."""
    if not session.undo:
        raise ConflictError("there is nothing to undo", code="nothing_to_undo")
    return replace(_moved(session, session.undo[-1] or None), undo=session.undo[:-1])


def find_checkpoint(session: Session, name: str) -> str:
    """The id of the message of that name. Raises NotFoundError."""
    if name not in session.checkpoints:
        told = f"the session {session.id!r} has no checkpoint {quoted(name)}"
        raise NotFoundError(told, param="name", code="checkpoint_not_found")
    return session.checkpoints[name]


def mark(session: Session, name: str, message_id: str | None) -> Change:
    """A name for a message, by default the last one; a name that there is moves. Raises InvalidRequestError."""
    marked = message_id or session.tip
    if marked is None:
        raise InvalidRequestError("nothing was said yet: there is no message to name", param="message_id")
    checkpoints = {**session.checkpoints, name: find_message(session, marked).id}
    if len(checkpoints) > MOST_CHECKPOINTS:
        raise InvalidRequestError(f"a session has at most {MOST_CHECKPOINTS} checkpoints", param="name")
    return Change([], session.tip, session.window, session.undo, checkpoints)


def unmark(session: Session, name: str) -> Change:
    """Without that name; the message stays. Raises NotFoundError."""
    find_checkpoint(session, name)
    left = {key: marked for key, marked in session.checkpoints.items() if key != name}
    return Change([], session.tip, session.window, session.undo, left)


def fork(session: Session, message_id: str) -> Session:
    """A new session that has said the same up to the message, the swipes on its way among it."""
    path = session.path(find_message(session, message_id).id)
    swipes = Swipes(session)
    ids: dict[str, str] = {}
    roots: dict[str, str] = {}
    copies: list[Message] = []
    for message in path:
        for sibling in swipes.of(message):
            copy = sibling.copied(ids[sibling.parent] if sibling.parent else None)
            ids[sibling.id] = copy.id
            first = roots.setdefault(sibling.root, copy.id)
            copies.append(replace(copy, origin="" if first == copy.id else first))
    now = replace(
        session,
        id=new_id("sess"),
        seed=session.seed or session.id,
        messages={copy.id: copy for copy in copies},
        tip=ids[message_id],
        window=ids.get(_kept_window(session, path) or ""),
        cut=_forked_cut(session, roots),
        planned=None,
        as_of=_as_of(session, roots),
        undo=(),
        checkpoints={name: ids[marked] for name, marked in session.checkpoints.items() if marked in ids},
        version=0,
    )
    check_room(now, 0)
    return now


def _forked_cut(session: Session, roots: Mapping[str, str]) -> Cut | None:
    """The cut of a fork, which has these copies; None where it has none of the message that it is made at."""
    window = roots.get(session.root(session.cut.window)) if session.cut else None
    return replace(session.cut, window=window) if session.cut and window else None


def _as_of(session: Session, roots: Mapping[str, str]) -> float | str | None:
    """Up to where a fork remembers: the copy of that message, or its time where it was not copied."""
    if not isinstance(session.as_of, str):
        return session.as_of
    return roots.get(session.root(session.as_of)) or session.messages[session.as_of].created


def _replanted(session: Session, message: Message, instead: Message | None) -> Change:
    """The branch through `message` with `instead` in its place, or nothing; what follows is copied."""
    branch = session.path(Swipes(session).leaf(message).id)
    place = branch.index(message)
    added = [instead] if instead else []
    parent = instead.id if instead else message.parent
    for follower in branch[place + 1 :]:
        copy = follower.copied(parent)
        if not added and message.root in _beginnings(session):
            # A prompt that began with what was deleted begins with what came after it.
            copy = replace(copy, origin=message.root)
        added.append(copy)
        parent = copy.id
    check_room(session, len(added))
    return Change(added, parent, _kept_window(session, [*branch[:place], *added]))


def _beginnings(session: Session) -> set[str]:
    """The roots of messages with which prompts begin, as far as cuts are made by now."""
    windows = (session.window, session.cut.window if session.cut else None)
    return {session.root(window) for window in windows if window}


def _moved(session: Session, tip: str | None) -> Change:
    """The branch to `tip`, of which nothing is removed any more."""
    path = session.path(tip)
    shown = [replace(message, removed=False) for message in path if message.removed]
    return Change(shown, tip, _kept_window(session, path))


def _kept_window(session: Session, path: Sequence[Message]) -> str | None:
    """Where the prompt begins on the branch of `path`: with what stands in the place where it does now, if any does."""
    root = session.root(session.window) if session.window else None
    return next((message.id for message in path if message.root == root), None)
