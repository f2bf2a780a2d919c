"""Instructions as conversations: the formats in which they are published, and any other by the names of its fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.synthesis.teachers.teacher import Line

# Longer ones are documents.
MOST_CHARACTERS = 32_000
MOST_LINES = 64
# How Persona Hub's instructions begin.
PROMPT_MARK = "User prompt:"

_ROLES: Mapping[str, Literal["user", "assistant"]] = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}


class BadInstruction(ValueError):
    """The row is no conversation; the message is the reason that is counted."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What the fields of other JSONL are called; `response` may be missing where nothing is rewritten."""

    prompt: str | None = None
    response: str | None = None


def read_conversation(row: Mapping[str, Any], fields: Fields = Fields()) -> list[Line]:
    """The lines of a row, the user's first, then in turn. Raises BadInstruction."""
    lines = _read(row, fields)
    if not lines or not all(line.text.strip() for line in lines):
        raise BadInstruction("empty")
    if any(line.role != ("user", "assistant")[place % 2] for place, line in enumerate(lines)):
        raise BadInstruction("not_in_turn")
    if len(lines) > MOST_LINES or sum(len(line.text) for line in lines) > MOST_CHARACTERS:
        raise BadInstruction("too_long")
    return lines


def _read(row: Mapping[str, Any], fields: Fields) -> list[Line]:
    if fields.prompt:
        return _in_turn([row.get(fields.prompt), *_given(row, fields.response)])
    for field in ("messages", "conversations", "dialogue"):
        if field in row:
            return _lines(row[field])
    if "synthesized text" in row:
        return _in_turn([_text(row["synthesized text"]).removeprefix(PROMPT_MARK).strip()])
    if "instruction" in row:
        asked = "\n\n".join(filter(None, (_text(row["instruction"]), _text(row.get("input") or ""))))
        return _in_turn([asked, *_given(row, "output")])
    if "question" in row:
        return _asked_and_answered(row["question"], row.get("character_answer", row.get("answer")))
    raise BadInstruction("missing_fields")


def _lines(said: Any) -> list[Line]:  # whatever a row holds
    if not isinstance(said, list):
        raise BadInstruction("missing_fields")
    if all(isinstance(one, str) for one in said):
        return _in_turn(said)
    return [_line(one) for one in said]


def _line(said: Any) -> Line:  # OpenAI's words, or ShareGPT's
    if not isinstance(said, dict):
        raise BadInstruction("missing_fields")
    role, text = said.get("role", said.get("from")), said.get("content", said.get("value"))
    if role == "system":
        raise BadInstruction("system_message")
    if not isinstance(role, str) or role not in _ROLES:
        raise BadInstruction("unknown_role")
    return Line(_ROLES[role], _text(text))


def _asked_and_answered(asked: Any, answered: Any) -> list[Line]:  # a text, or a list of them
    questions = asked if isinstance(asked, list) else [asked]
    answers = answered if isinstance(answered, list) else [] if answered is None else [answered]
    if len(answers) not in (len(questions), len(questions) - 1):
        raise BadInstruction("not_in_turn")
    said = [text for pair in zip(questions, [*answers, None], strict=False) for text in pair]
    return _in_turn([text for text in said if text is not None])


def _given(row: Mapping[str, Any], field: str | None) -> Sequence[Any]:
    return [row[field]] if field and row.get(field) else []


def _in_turn(texts: Sequence[Any]) -> list[Line]:
    roles: tuple[Literal["user", "assistant"], ...] = ("user", "assistant")
    return [Line(roles[place % 2], _text(text)) for place, text in enumerate(texts)]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BadInstruction("missing_fields")
    return value
