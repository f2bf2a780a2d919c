"""Opening a session, with one character or with a cast: who it is with, and what was said before its first turn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from app.errors import InvalidRequestError
from app.sessions.cast import Member, TurnOrder, build_ensemble, check_cast
from app.sessions.ids import new_id
from app.sessions.message import Message, Speaker
from app.sessions.session import Session
from app.sessions.state import build_state
from characters.card import CharacterCard
from characters.lore.timing import LoreState
from models.renderer import Renderer
from models.scene import UserPersona


class Character(Protocol):
    """Who a session is with, as far as it has to know: a stored character, or a whole cast."""

    @property
    def id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def revision(self) -> str: ...
    @property
    def card(self) -> CharacterCard: ...


@dataclass(frozen=True, slots=True)
class Ensemble:
    """A whole cast as one character; it is stored nowhere, so it has the first one's id and no version."""

    id: str
    card: CharacterCard
    version: int = 0
    revision: str = "ensemble"


def open_session(
    character: Character,
    user: UserPersona,
    renderer: Renderer,
    *,
    greeting: int | str | None = 0,
    past: Sequence[tuple[Speaker, str]] = (),
    session_id: str | None = None,
    **more: Any,  # other fields of Session
) -> Session:
    """A new session, with the card's greeting number `greeting`, the text given as one, or none (None).

    `past` is what was said before the session came here. It has no head yet: `Preparation.with_head` writes that.

    Raises InvalidRequestError when the card has no such greeting; a card without any opens silently with number 0.
    """
    card = character.card
    greetings = card.greetings()
    if isinstance(greeting, int) and not (0 <= greeting < max(1, len(greetings))):
        raise InvalidRequestError(
            f"`greeting` is {greeting}, and the character has {len(greetings)}, counted from 0", param="greeting"
        )
    session = Session(
        id=session_id or new_id("sess"),
        character_id=character.id,
        character_version=character.version,
        revision=character.revision,
        card=card,
        user=user,
        fingerprint=renderer.fingerprint,
        head=[],
        messages={},
        tip=None,
        greeting=greeting if isinstance(greeting, int) and greetings else None,
        **more,
    )
    context = session.opening_context()
    text = greeting if isinstance(greeting, str) else greetings[greeting] if greeting is not None and greetings else ""
    greeted = card.expand(text, user.name, persona=user.persona, context=context) if text.strip() else ""
    said: list[tuple[Speaker, str]] = [("assistant", greeted)] if greeted.strip() else []
    messages: dict[str, Message] = {}
    tip: str | None = None
    for role, content in (*said, *past):
        state = build_state(LoreState(), context) if tip is None else None
        message = Message(new_id("msg"), tip, role, content, renderer.encode(content.strip()), state=state)
        messages[message.id] = message
        tip = message.id
    return replace(session, messages=messages, tip=tip)


def open_scene(
    cast: Sequence[Member],
    user: UserPersona,
    renderer: Renderer,
    *,
    scene: str = "",
    turn_order: TurnOrder = "list",
    greeting: int | str | None = 0,
    **more: Any,  # other fields of Session
) -> Session:
    """A new session of a cast. It begins with a greeting of the first member's: one for groups where it has any.

    Raises InvalidRequestError for a cast that can't play together, and for a greeting that isn't there.
    """
    check_cast(cast, user.name)
    ensemble = Ensemble(cast[0].character_id, build_ensemble(cast, scene))
    session = open_session(ensemble, user, renderer, greeting=None, cast=tuple(cast), turn_order=turn_order, **more)
    text = greeting if isinstance(greeting, str) else _greeting(cast[0], greeting)
    context = session.opening_context()
    greeted = cast[0].card.expand(text, user.name, persona=user.persona, context=context)
    if not greeted.strip():
        return session
    ids, state = renderer.encode(greeted.strip()), build_state(LoreState(), context)
    first = Message(new_id("msg"), None, "assistant", greeted, ids, state=state, speaker=cast[0].character_id)
    return replace(session, messages={first.id: first}, tip=first.id)


def _greeting(member: Member, number: int | None) -> str:
    if number is None:
        return ""
    data = member.card.data
    greetings = [text for text in data.group_only_greetings if text.strip()] or member.card.greetings()
    if not greetings and number == 0:
        return ""
    if number >= len(greetings):
        told = f"`greeting` is {number}, and {member.name} has {len(greetings)} for groups, counted from 0"
        raise InvalidRequestError(told, param="greeting")
    return greetings[number]
