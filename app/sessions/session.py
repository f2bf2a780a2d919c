"""A session's state, without I/O: a tree of messages of which one branch is active.

Each message knows its parent; swipes are siblings; nothing is ever taken out of the tree. A message carries the exact
ids of its content, valid under the session's `fingerprint` (vocabulary and chat template).
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from app.errors import InvalidRequestError
from characters.card import CharacterCard
from models.prompt import UserPersona, build_head, tail_text
from models.renderer import Renderer, Turn

Speaker = Literal["user", "assistant", "system"]
FinishReason = Literal["stop", "length", "interrupted"]


def join_instructions(system: Sequence[str]) -> str:
    """A client's system messages as one text."""
    return "\n\n".join(system)


def new_id(kind: str) -> str:
    """`kind_` and 122 random bits."""
    return f"{kind}_{uuid.uuid4().hex}"


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `finish_reason` is that of a generated one: None for what users write, and for greetings."""

    id: str
    parent: str | None
    role: Speaker
    content: str
    token_ids: Sequence[int]
    finish_reason: FinishReason | None = None
    created: float = field(default_factory=time.time)

    def to_wire(self) -> dict[str, Any]:
        """What clients see."""
        shown: dict[str, Any] = {"id": self.id, "role": self.role, "content": self.content}
        return shown | ({"finish_reason": self.finish_reason} if self.finish_reason else {})


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation, as of `version`, which counts its commits.

    `card` is the character as it was when the session began; `head` is what its prompts begin with; `window` is the
    first message that the prompt still holds (None: all of them), moved only when history is cut. `recoded` says that
    the stored ids of all messages are of another vocabulary and must be written anew.
    """

    id: str
    character_id: str
    card: CharacterCard
    user: UserPersona
    fingerprint: str
    head: Sequence[Turn]
    messages: Mapping[str, Message]
    tip: str | None
    window: str | None = None
    extra: str = ""
    recoded: bool = False
    version: int = 0
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)

    def branch(self, tip: str | None = None) -> list[Message]:
        """The messages from the first to `tip` (default: the active one)."""
        path: list[Message] = []
        cursor = tip or self.tip
        while cursor is not None:
            message = self.messages[cursor]
            path.append(message)
            cursor = message.parent
        return path[::-1]

    def last_reply(self) -> tuple[Message, Message]:
        """The reply at the tip and the message that it answers. Raises InvalidRequestError when there is none."""
        if self.tip is None or self.messages[self.tip].role != "assistant":
            raise InvalidRequestError("the last message isn't a reply: there is nothing to regenerate")
        reply = self.messages[self.tip]
        if reply.parent is None:
            raise InvalidRequestError("a greeting can't be regenerated: open a session with another `greeting`")
        return reply, self.messages[reply.parent]

    def tail(self, system: Sequence[str] = ()) -> str:
        """What stands before the last message of the user's: of `system`, the instructions that a client sends by now,
        those that aren't in the head, then the card's own.
        """
        begun = next((count for count in range(len(system) + 1) if join_instructions(system[:count]) == self.extra), 0)
        return tail_text(self.card, self.user, join_instructions(system[begun:]))

    def under(self, renderer: Renderer) -> "Session":
        """This session with ids of `renderer`'s vocabulary: itself, or encoded anew when the model has changed."""
        if self.fingerprint == renderer.fingerprint:
            return self
        messages = {
            key: replace(message, token_ids=renderer.encode(message.content)) for key, message in self.messages.items()
        }
        head = build_head(renderer.encode, self.card, self.user, self.extra)
        return replace(self, fingerprint=renderer.fingerprint, head=head, messages=messages, window=None, recoded=True)

    def add(self, added: Sequence[Message], *, tip: str | None, window: str | None) -> "Session":
        """The next version: with `added`, its active branch ending at `tip`."""
        messages = {**self.messages, **{message.id: message for message in added}}
        return replace(
            self,
            messages=messages,
            tip=tip,
            window=window,
            version=self.version + 1,
            updated=time.time(),
            recoded=False,
        )

    def to_wire(self) -> dict[str, Any]:
        """What clients see, without the messages."""
        return {
            "id": self.id,
            "character_id": self.character_id,
            "user": {"name": self.user.name, "persona": self.user.persona},
            "version": self.version,
            "created": int(self.created),
            "updated": int(self.updated),
        }


def open_session(
    character_id: str,
    card: CharacterCard,
    user: UserPersona,
    renderer: Renderer,
    *,
    greeting: int | str | None = 0,
    past: Sequence[tuple[Speaker, str]] = (),
    extra: str = "",
    session_id: str | None = None,
) -> Session:
    """A new session, with the card's greeting number `greeting`, the text given as one, or none (None).

    `past` is what was said before the session came here; `extra` are a client's own instructions to the model.

    Raises InvalidRequestError when the card has no such greeting; a card without any opens silently with number 0.
    """
    greetings = card.greetings()
    if isinstance(greeting, int) and not (0 <= greeting < max(1, len(greetings))):
        raise InvalidRequestError(
            f"`greeting` is {greeting}, and the character has {len(greetings)}, counted from 0", param="greeting"
        )
    text = greeting if isinstance(greeting, str) else greetings[greeting] if greeting is not None and greetings else ""
    said: list[tuple[Speaker, str]] = [("assistant", card.expand(text, user.name))] if text.strip() else []
    messages: dict[str, Message] = {}
    tip: str | None = None
    for role, content in (*said, *past):
        message = Message(new_id("msg"), tip, role, content, renderer.encode(content.strip()))
        messages[message.id] = message
        tip = message.id
    return Session(
        id=session_id or new_id("sess"),
        character_id=character_id,
        card=card,
        user=user,
        fingerprint=renderer.fingerprint,
        head=build_head(renderer.encode, card, user, extra),
        messages=messages,
        tip=tip,
        extra=extra,
    )


def as_turns(messages: Sequence[Message]) -> list[Turn]:
    """The messages as the renderer reads them."""
    return [Turn(message.role, message.token_ids) for message in messages]
