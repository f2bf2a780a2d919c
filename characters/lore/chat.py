"""What a lorebook reads: the end of a chat, and what is known beside it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["user", "assistant", "system"]

# Stands before each message, so that no key is found across two; SillyTavern's mark, which its users write in keys.
MARK = "\x01"
# V3: remarks are never searched, hidden keys in an entry's content are.
_REMARK = re.compile(r"\{\{\s*(?://|comment:)[^{}]*\}\}", re.IGNORECASE)
_HIDDEN_KEY = re.compile(r"\{\{\s*hidden_key:([^{}]*)\}\}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it is read. With a name its line begins `name: `, so that keys can find who spoke."""

    role: Role
    text: str
    name: str = ""

    def line(self) -> str:
        text = _HIDDEN_KEY.sub("", _REMARK.sub("", self.text)) if "{{" in self.text else self.text
        return f"{self.name}: {text.strip()}" if self.name else text.strip()


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat as lorebooks see it. `messages` are oldest first and end with the one to be answered.

    Where they are only the end of the chat, `earlier_messages` and `earlier_replies` count what came before, all of it
    and the assistant's alone; `kept_from` counts the messages that have left the prompt.
    """

    messages: Sequence[Message]
    earlier_messages: int = 0
    earlier_replies: int = 0
    kept_from: int = 0
    # Which of the card's greetings began the chat; None where that isn't known.
    greeting: int | None = None
    # Which of a card's user icons is shown; None where there are none.
    user_icon: str | None = None
    character: str = ""
    tags: frozenset[str] = frozenset()
    # What kind of reply is asked for: normal, continue, swipe, regenerate, impersonate, quiet (SillyTavern's names).
    trigger: str = "normal"
    # More to read for entries that ask for it, by SillyTavern's names: persona_description, scenario, …
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def message_count(self) -> int:
        return self.earlier_messages + len(self.messages)

    @property
    def reply_count(self) -> int:
        return self.earlier_replies + sum(message.role == "assistant" for message in self.messages)

    def text(self, scan_depth: int, sources: Sequence[str] = ()) -> str:
        """The newest `scan_depth` messages, newest first as in SillyTavern, and the sources asked for."""
        newest = self.messages[max(0, len(self.messages) - scan_depth) :]
        lines = [message.line() for message in reversed(newest)]
        lines += [self.sources[name].strip() for name in sources if self.sources.get(name)]
        return "\n".join(MARK + line for line in lines)


def told_text(content: str) -> str:
    """An entry's content as other entries read it: without remarks, with its hidden keys."""
    if "{{" not in content:
        return content
    return _HIDDEN_KEY.sub(lambda match: match[1].strip(), _REMARK.sub("", content))
