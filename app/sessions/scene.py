"""Opening a session that several characters play."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.errors import InvalidRequestError
from app.sessions.cast import Member, TurnOrder, build_ensemble, check_cast
from app.sessions.session import Message, Session, new_id, open_session
from app.sessions.state import build_state
from characters.card import CharacterCard
from characters.lore.timing import LoreState
from models.renderer import Renderer
from models.scene import UserPersona


@dataclass(frozen=True, slots=True)
class Ensemble:
    """A whole cast as one character; it is stored nowhere, so it has the first one's id and no version."""

    id: str
    card: CharacterCard
    version: int = 0
    revision: str = "ensemble"


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
