"""Conversations as OpenAI's API takes them: a list of messages, alone, under `messages`, or one a line."""

from collections.abc import Mapping, Sequence

import orjson

from characters.chats.chat import Chat, Json, Line, Role, Said
from characters.chats.coercion import read_name, read_text
from characters.lore.coercion import Coercion

ROLES: Mapping[str, Role] = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}
PASSED_OVER = ("tool", "function")


def read_messages(values: Sequence[Json], coercion: Coercion) -> list[Line]:
    """The messages that somebody says; those of tools are none."""
    lines: list[Line] = []
    for number, value in enumerate(values, 1):
        place = f"message {number}"
        if not isinstance(value, dict):
            coercion.warn("this is no message, and was left out", place)
        elif value.get("role") in PASSED_OVER:
            coercion.warn("what a tool says was left out", place)
        else:
            role = _read_role(value.get("role"), coercion, place)
            said = Said(role, _read_content(value, coercion, place), read_name(value.get("name"), coercion, place))
            lines.append(Line([said]))
    return lines


def _read_role(value: Json, coercion: Coercion, place: str) -> Role:
    role = ROLES.get(value.strip().lower()) if isinstance(value, str) else None
    if role is None:
        coercion.warn("the role is none that is known, read as the user's", place)
    return role or "user"


def _read_content(value: Mapping[str, Json], coercion: Coercion, place: str) -> str:
    content = value.get("content")
    if content is None and value.get("tool_calls"):
        return ""
    if not isinstance(content, list):
        return read_text(content, "`content`", coercion, place)
    texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
    texts += [part for part in content if isinstance(part, str)]
    if len(texts) < len(content):
        coercion.warn("parts that are no text were left out", place)
    return read_text("".join(texts), "`content`", coercion, place)


def write_messages(chat: Chat, tip: int | None) -> bytes:
    """The branch that ends there, as a body of a request has it; what is hidden is none of it."""
    shown = [chat.messages[place] for place in chat.path(tip) if not chat.messages[place].hidden]
    messages = [
        {"role": said.role, "content": said.text} | ({"name": said.name} if said.name else {}) for said in shown
    ]
    return orjson.dumps({"messages": messages}, option=orjson.OPT_INDENT_2)
