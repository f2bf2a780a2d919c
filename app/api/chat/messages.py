"""A chat completion's messages, and what of them was said."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.errors import InvalidRequestError, quoted
from app.sessions.session import join_instructions
from models.examples import Line
from models.renderer import Role


class ChatMessage(BaseModel):
    """One message; its content a string, or text parts that are joined."""

    model_config = ConfigDict(extra="allow")

    role: str = Field(max_length=32)
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        """The content as plain text. Raises InvalidRequestError on parts that aren't text."""
        if not isinstance(self.content, list):
            return self.content or ""
        texts = []
        for part in self.content:
            if part.get("type") not in (None, "text", "input_text") or not isinstance(part.get("text"), str):
                raise InvalidRequestError(
                    f"content parts of type {quoted(part.get('type'))} aren't supported: the model reads text alone",
                    param="messages",
                )
            texts.append(part["text"])
        return "\n".join(texts)


def read_lines(messages: Sequence[ChatMessage]) -> list[Line]:
    """What was said, empty messages left out. Roles that no template knows are the user's."""
    roles: dict[str, Role] = {"system": "system", "developer": "system", "assistant": "assistant"}
    lines = [Line(roles.get(message.role, "user"), message.text()) for message in messages]
    lines = [line for line in lines if line.text.strip()]
    if all(line.role == "system" for line in lines):
        raise InvalidRequestError(
            "there is nothing to answer: every message is empty or a system message", param="messages"
        )
    return lines


def spoken(lines: Sequence[Line]) -> list[Line]:
    """The lines without the system's."""
    return [line for line in lines if line.role != "system"]


def count_opening(lines: Sequence[Line]) -> int:
    """How many lines of the client's own instructions the conversation begins behind."""
    return next(index for index, line in enumerate(lines) if line.role != "system")


def opening_instructions(lines: Sequence[Line]) -> str:
    """Those as one text."""
    return join_instructions([line.text for line in lines[: count_opening(lines)]])


def trimmed(lines: Sequence[Line]) -> list[Line]:
    """The lines as chat templates trim them; what the assistant has begun is continued to the letter."""
    *others, last = lines
    ending = last if last.role == "assistant" else Line(last.role, last.text.strip())
    return [*(Line(line.role, line.text.strip()) for line in others), ending]
