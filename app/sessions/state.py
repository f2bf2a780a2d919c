"""What turns tell each other through their messages, of lore and of variables, and what macros know of a chat."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.sessions.message import Message
from characters.calls import Context
from characters.lore.timing import LoreState, parse_state


def lore_state(history: Sequence[Message]) -> LoreState:
    """What the last reply of `history` has to tell of lore."""
    return parse_state(latest(history, "lore"))


def build_state(lore: LoreState, context: Context) -> dict[str, Any] | None:
    """What a turn has to tell the next one, for a message's `state`; None where that is nothing."""
    told = {
        "lore": lore.to_json() if lore != LoreState() else None,
        "variables": dict(context.variables),
        "global_variables": dict(context.global_variables),
    }
    return {name: value for name, value in told.items() if value} or None


def latest(history: Sequence[Message], name: str) -> Mapping[str, Any]:
    """What the last message that tells anything has to tell by that name."""
    state = next((message.state for message in reversed(history) if message.state), None)
    told: Mapping[str, Any] = (state or {}).get(name) or {}
    return told


def known_of(said: Sequence[tuple[str, str]], swipes: tuple[int, int] | None = None) -> dict[str, str]:
    """What SillyTavern's macros say of a chat's messages, which it counts from 0; `said` are roles and texts.

    `swipes` say which of its siblings the last reply is, from 1 on, and how many they are, where that is known.
    """
    current, count = swipes or ("", "")

    def last(*roles: str) -> str:
        return next((text for role, text in reversed(said) if role in roles), "")

    return {
        "lastmessage": last("user", "assistant"),
        "lastusermessage": last("user"),
        "input": last("user"),
        "lastcharmessage": last("assistant"),
        "lastmessageid": str(len(said) - 1) if said else "",
        "currentswipeid": str(current),
        "lastswipeid": str(count),
    }


def swipes_of_last(said: Sequence[Message], visible: Sequence[Message]) -> tuple[int, int] | None:
    """Of the last reply in `said`, which of its siblings it is, from 1 on, and how many they are."""
    last = next((message for message in reversed(said) if message.role == "assistant"), None)
    if last is None:
        return None
    swipes = [one for one in visible if one.parent == last.parent and one.role == last.role]
    ids = [one.id for one in sorted(swipes, key=lambda one: one.created)]
    return (ids.index(last.id) + 1, len(ids)) if last.id in ids else (len(ids) + 1, len(ids) + 1)
