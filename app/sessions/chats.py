"""Chats of files as sessions, and back: pure, every message with its swipes, whatever a session has no use for kept."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.errors import ContextLengthError
from app.sessions.ids import new_id
from app.sessions.message import NOBODY, TICK_S, Message
from app.sessions.session import Session
from characters.chats.chat import Chat, Said
from characters.chats.limits import MAX_CHECKPOINTS
from models.scene import Note

Encode = Callable[[str], Sequence[int]]
# SillyTavern's numbers for the roles of an author's note.
ROLES: tuple[Any, ...] = ("system", "user", "assistant")
MOST_NOTE_CHARACTERS = 20_000
MOST_DEPTH = 10_000
MOST_VARIABLES = 200


def with_chat(session: Session, chat: Chat, encode: Encode) -> Session:
    """The session, which says nothing yet, with what was said in the chat. Takes a second for a long one.

    Raises ContextLengthError for a message that no prompt could hold.
    """
    planting = _Planting(session, chat, encode)
    messages = planting.messages()
    tip = messages[chat.tip].id if chat.tip is not None else None
    marks = {said.checkpoint: messages[place].id for place, said in enumerate(chat.messages) if said.checkpoint}
    return replace(
        session,
        messages={message.id: message for message in messages},
        tip=tip,
        checkpoints=dict(list(marks.items())[:MAX_CHECKPOINTS]),
        note=_read_note(chat.beside) or session.note,
        brought=chat.beside,
    )


@dataclass(frozen=True, slots=True)
class _Planting:
    session: Session
    chat: Chat
    encode: Encode

    def messages(self) -> list[Message]:
        """One for each of the chat's."""
        familiar, members = self._familiar(), self._members()
        variables = _read_variables(self.chat.beside)
        now = time.time()
        latest: dict[int | None, float] = {}
        made: list[Message] = []
        for place, said in enumerate(self.chat.messages):
            before = made[said.parent] if said.parent is not None else None
            told = said.time if said.time is not None else before.created if before else now
            created = latest[said.parent] = max(min(told, now), latest.get(said.parent, 0.0) + TICK_S)
            name = said.name.casefold()
            made.append(
                Message(
                    new_id("msg"),
                    before.id if before else None,
                    said.role,
                    said.text,
                    self._encode(place, said),
                    created=created,
                    state={"variables": variables} if variables and place == self.chat.tip else None,
                    speaker=members.get(name) if said.role == "assistant" else None,
                    seen_by=NOBODY if said.hidden else (),
                    name="" if name in familiar or said.role == "system" else said.name,
                    brought=said.beside or None,
                )
            )
        return made

    def _encode(self, place: int, said: Said) -> Sequence[int]:
        try:
            return self.encode(said.text.strip())
        except ContextLengthError as error:
            told = f"message {place + 1} of the chat is too long: {error.message}"
            raise ContextLengthError(told, param="file") from None

    def _members(self) -> dict[str, str]:
        return {member.name.casefold(): member.character_id for member in self.session.cast}

    def _familiar(self) -> set[str]:
        """Names that say no more than who is the user and who the character: as now, and as it was in the file."""
        session, chat = self.session, self.chat
        names = {"", session.user.name, chat.user, *(member.name for member in session.cast)}
        if not session.cast:
            speakers = {said.name for said in chat.messages if said.role == "assistant"}
            names |= {session.card.name, session.card.data.name, chat.character} | (
                speakers if len(speakers) == 1 else set()
            )
        return {name.casefold() for name in names}


def to_chat(session: Session) -> Chat:
    """All that was said in the session, its swipes in their order."""
    marks = {marked: name for name, marked in session.checkpoints.items()}
    ordered = _in_order(session)
    places = {message.id: place for place, message in enumerate(ordered)}
    messages = [
        Said(
            message.role,
            message.content,
            session.name_of(message),
            places[message.parent] if message.parent is not None else None,
            message.created,
            message.is_hidden,
            marks.get(message.id, ""),
            message.brought or {},
        )
        for message in ordered
    ]
    return Chat(
        messages,
        places[session.tip] if session.tip is not None else None,
        session.user.name,
        session.card.name,
        _write_variables(session, _write_note(session.note, session.brought)),
    )


def _in_order(session: Session) -> list[Message]:
    """The messages, each behind the one that it follows, and behind its older siblings."""
    children: dict[str | None, list[Message]] = {}
    for message in sorted(session.visible(), key=lambda one: (one.created, one.id)):
        children.setdefault(message.parent, []).append(message)
    ordered: list[Message] = []
    below = children.get(None, [])
    while below:
        ordered += below
        below = [child for message in below for child in children.get(message.id, ())]
    return ordered


def _metadata(beside: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = beside.get("chat_metadata")
    return metadata if isinstance(metadata, dict) else {}


def _read_note(beside: Mapping[str, Any]) -> Note | None:
    """The author's note of the chat; None where it has none that is one."""
    metadata = _metadata(beside)
    text, depth, role = (metadata.get(f"note_{name}") for name in ("prompt", "depth", "role"))
    if not isinstance(text, str) or not text.strip() or len(text) > MOST_NOTE_CHARACTERS or "\0" in text:
        return None
    note = Note(text)
    if isinstance(depth, int) and 0 <= depth <= MOST_DEPTH:
        note = replace(note, depth=int(depth))
    return replace(note, role=ROLES[role]) if isinstance(role, int) and 0 <= role < len(ROLES) else note


def _write_note(note: Note, beside: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is told of the chat with the note as it is now."""
    if note == (_read_note(beside) or Note()):
        return beside
    told = {"note_prompt": note.text, "note_depth": note.depth, "note_role": ROLES.index(note.role)}
    return {**beside, "chat_metadata": {**_metadata(beside), **told}}


def _read_variables(beside: Mapping[str, Any]) -> dict[str, str]:
    """What macros have set, as far as it is text or numbers."""
    variables = _metadata(beside).get("variables")
    found = variables.items() if isinstance(variables, dict) else ()
    plain = {
        name: str(value) for name, value in found if isinstance(value, str | int | float) and len(str(value)) < 10_000
    }
    return dict(list(plain.items())[:MOST_VARIABLES])


def _write_variables(session: Session, beside: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same with what they have set since."""
    now: Mapping[str, str] = next(
        (one.state["variables"] for one in reversed(session.branch()) if one.state and "variables" in one.state), {}
    )
    changed = {name: value for name, value in now.items() if _read_variables(beside).get(name) != value}
    if not changed:
        return beside
    metadata = _metadata(beside)
    variables = metadata.get("variables")
    before = variables if isinstance(variables, dict) else {}
    return {**beside, "chat_metadata": {**metadata, "variables": {**before, **changed}}}
