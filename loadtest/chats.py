"""How a conversation is put into requests: the three ways in which a server can know what was said before."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

from characters.card import CharacterCard
from models.scene import Scene
from models.sections import head_messages

Message = dict[str, str]
Body = dict[str, Any]  # JSON


@dataclass(frozen=True, slots=True)
class Sampling:
    """What goes into each request. With `ignore_eos` every reply has exactly `max_tokens`, on any server."""

    max_tokens: int = 128
    min_tokens: int = 0
    ignore_eos: bool = False
    temperature: float = 0.7

    def body(self) -> Body:
        """The fields that ask for a streamed reply with its usage at the end; defaults of the API are left out."""
        body: Body = {
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }
        if self.min_tokens:
            body["min_tokens"] = self.min_tokens
        if self.ignore_eos:
            body["ignore_eos"] = True
        return body


def head_of(card: CharacterCard) -> list[Message]:
    """What our server puts before a conversation with `card`, as messages for one that knows no characters."""
    return [{"role": message.role, "content": message.text} for message in head_messages(Scene(card))]


def greeting_of(card: CharacterCard) -> list[Message]:
    """The greeting with which our server opens; none where the card has none."""
    return [{"role": "assistant", "content": card.expand(text)} for text in card.greetings()[:1]]


@dataclass(frozen=True, slots=True)
class Request:
    """A POST to make."""

    path: str
    body: Body
    headers: Mapping[str, str] = field(default_factory=dict)


class Chat(Protocol):
    """One conversation's side of the client."""

    def open(self) -> Request | None:
        """What makes the session on the server, where that is a request of its own."""

    def opened(self, answer: Mapping[str, Any]) -> None:
        """The server's JSON answer to `open`."""

    def say(self, line: str) -> Request:
        """The user's next line."""

    def heard(self, line: str, reply: str) -> None:
        """The reply to `line`, whole. A line that failed is never heard of again."""


class SessionChat:
    """`/sessions`: the server makes the session, greets, and keeps the history."""

    def __init__(self, character: str, sampling: Sampling, **fields: Any) -> None:
        """`fields` are others of the session's: a note, lorebooks."""
        self._opening = {"character_id": character, **fields}
        self._sampling = sampling.body()
        self._id = ""

    def open(self) -> Request:
        return Request("/sessions", self._opening)

    def opened(self, answer: Mapping[str, Any]) -> None:
        self._id = str(answer["id"])

    def say(self, line: str) -> Request:
        return Request(f"/sessions/{self._id}/messages", {**self._sampling, "content": line})

    def heard(self, line: str, reply: str) -> None:
        """The server has it."""


class HeaderChat:
    """OpenAI's API with `X-Session-Id`: the character is the model, the server keeps the history."""

    def __init__(self, character: str, sampling: Sampling) -> None:
        self._body = {**sampling.body(), "model": character}
        self._headers = {"X-Session-Id": uuid4().hex}

    def open(self) -> None:
        """The first message makes the session."""

    def opened(self, answer: Mapping[str, Any]) -> None:
        """Nothing is made beforehand."""

    def say(self, line: str) -> Request:
        body = {**self._body, "messages": [{"role": "user", "content": line}]}
        return Request("/v1/chat/completions", body, self._headers)

    def heard(self, line: str, reply: str) -> None:
        """The server has it."""


class TranscriptChat:
    """OpenAI's API as it is everywhere: the client sends the whole conversation each time."""

    def __init__(self, model: str, sampling: Sampling, opening: list[Message], tail: str = "") -> None:
        """`opening` stands before what is said: a system message, a greeting; `tail` before each line, as system."""
        self._body = {**sampling.body(), "model": model}
        self._tail: list[Message] = [{"role": "system", "content": tail}] if tail else []
        self.messages = list(opening)

    def open(self) -> None:
        """Nothing is kept on the server."""

    def opened(self, answer: Mapping[str, Any]) -> None:
        """Nothing is kept on the server."""

    def say(self, line: str) -> Request:
        messages = [*self.messages, *self._tail, {"role": "user", "content": line}]
        return Request("/v1/chat/completions", {**self._body, "messages": messages})

    def heard(self, line: str, reply: str) -> None:
        # An untrained model says NUL, which a careful server doesn't take back.
        spoken = reply.replace("\0", "")
        self.messages += [{"role": "user", "content": line}, {"role": "assistant", "content": spoken}]
