"""One message of a session's tree, which carries the exact ids of its content. It knows nothing of the session."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from app.sessions.ids import new_id

Speaker = Literal["user", "assistant", "system"]
FinishReason = Literal["stop", "length", "interrupted"]

# Who hears what is hidden from all characters: no id is empty.
NOBODY = ("",)
# Between the times of siblings, whose order these are: far less than a clock shows.
TICK_S = 1e-6


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `finish_reason` is that of a generated one: None for what users write, and for greetings.

    `state` is what the turn that wrote it has to tell the next one: of lore, and of variables that macros set.
    """

    id: str
    parent: str | None
    role: Speaker
    content: str
    token_ids: Sequence[int]
    finish_reason: FinishReason | None = None
    created: float = field(default_factory=time.time)
    state: Mapping[str, Any] | None = None  # JSON
    speaker: str | None = None
    """The id of the character who says it, where several talk."""
    seen_by: Sequence[str] = ()
    """The ids of the only characters who hear it; empty for all."""
    turn_id: str | None = None
    """The turn that generated it. Copies have none."""
    name: str = ""
    """Who says it, where that is nobody whom the session knows."""
    brought: Mapping[str, Any] | None = None  # JSON
    """What else the file says of it that it came in: `beside` of `characters.chats.chat.Said`."""
    origin: str = ""
    """The id of the first message in whose place it stands: the one that was edited, or that it is a copy of."""
    removed: bool = False
    """Whether it is no swipe any more that anybody is shown, unless the branch goes through it."""

    @property
    def root(self) -> str:
        """What a message, its edits and their copies have in common, on whichever branch each of them is."""
        return self.origin or self.id

    def copied(self, parent: str | None) -> "Message":
        """The same, said under another parent."""
        return replace(self, id=new_id("msg"), parent=parent, turn_id=None, origin=self.root, removed=False)

    def to_wire(self) -> dict[str, Any]:
        """What clients see."""
        shown: dict[str, Any] = {"id": self.id, "role": self.role, "content": self.content}
        shown |= {"finish_reason": self.finish_reason} if self.finish_reason else {}
        shown |= {"speaker": self.speaker} if self.speaker else {}
        shown |= {"name": self.name} if self.name else {}
        if self.is_hidden:
            return shown | {"hidden": True}
        return shown | ({"to": list(self.seen_by)} if self.seen_by else {})

    @property
    def is_hidden(self) -> bool:
        """Whether no prompt has it."""
        return tuple(self.seen_by) == NOBODY


def in_order(known: Mapping[str, Message], added: Sequence[Message]) -> list[Message]:
    """The messages, those that are new each later than all siblings, whichever server's clock is behind."""
    latest = {message.parent: 0.0 for message in added}
    for message in known.values():
        if message.parent in latest:
            latest[message.parent] = max(latest[message.parent], message.created)
    placed: list[Message] = []
    for message in added:
        if message.id not in known and message.created <= latest[message.parent]:
            message = replace(message, created=latest[message.parent] + TICK_S)
        latest[message.parent] = max(latest[message.parent], message.created)
        placed.append(message)
    return placed
