"""A chat as a value: a tree of messages with one branch that was shown last, whatever file it came from.

Readers give branches, each a list of exchanges' `Line`s; `build_chat` joins what they share.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from characters.card import CardError
from characters.chats.limits import MAX_MESSAGES

# Untrusted: whatever a file holds.
Json = Any
Role = Literal["user", "assistant", "system"]
# Whom a message follows, and who says it: swipes of each other have it in common.
Place = tuple[int | None, Role]


@dataclass(frozen=True, slots=True)
class Said:
    """One message. `parent` is the place of the message that it follows, `time` seconds since 1970.

    A `hidden` one is shown, and told to no model. `beside` is what SillyTavern says of it beside these: the `line` of
    the swipe that is shown, without its texts, and the swipe's `info`.
    """

    role: Role
    text: str
    name: str = ""
    parent: int | None = None
    time: float | None = None
    hidden: bool = False
    checkpoint: str = ""
    beside: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """The swipes that stand at one place of a chat, and which of them the chat goes on from."""

    swipes: Sequence[Said]
    chosen: int = 0


@dataclass(frozen=True, slots=True)
class Chat:
    """Messages, each behind the one that it follows, and siblings in their order; `tip` ends the branch that is shown.

    `user` and `character` are their names, where the file has them, and `beside` is SillyTavern's header.
    """

    messages: Sequence[Said] = ()
    tip: int | None = None
    user: str = ""
    character: str = ""
    beside: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def path(self, tip: int | None) -> list[int]:
        """The places of the messages from the first to `tip`."""
        path: list[int] = []
        while tip is not None:
            path.append(tip)
            tip = self.messages[tip].parent
        return path[::-1]

    def siblings(self) -> dict[Place, list[int]]:
        """The places of swipes of each other."""
        found: dict[Place, list[int]] = {}
        for place, said in enumerate(self.messages):
            found.setdefault((said.parent, said.role), []).append(place)
        return found


@dataclass(slots=True)
class _Tree:
    """The messages of several branches, those that are the same once."""

    messages: list[Said] = field(default_factory=list)
    places: dict[tuple[int | None, Role, str, str, int], int] = field(default_factory=dict)

    def add(self, branch: Sequence[Line]) -> int | None:
        """Put the branch in; returns where it ends."""
        parent: int | None = None
        for line in branch:
            places = list(self._place(line.swipes, parent))
            parent = places[line.chosen]
        return parent

    def _place(self, swipes: Sequence[Said], parent: int | None) -> Iterator[int]:
        # The same text twice among swipes is two of them.
        count: Counter[str] = Counter()
        for said in swipes:
            key = (parent, said.role, said.name, said.text, count[said.text])
            count[said.text] += 1
            place = self.places.setdefault(key, len(self.messages))
            if place == len(self.messages):
                self._check_room()
                self.messages.append(replace(said, parent=parent))
            elif "line" in said.beside and "line" not in self.messages[place].beside:
                self.messages[place] = replace(said, parent=parent)
            yield place

    def _check_room(self) -> None:
        if len(self.messages) >= MAX_MESSAGES:
            told = f"the chat has more than {MAX_MESSAGES:,} messages, swipes among them"
            raise CardError(told, "too_many_messages")


def build_chat(branches: Sequence[Sequence[Line]], **more: Any) -> Chat:  # fields of Chat
    """The chat of these branches, the first of which is shown. Raises CardError `empty_chat`, `too_many_messages`."""
    tree = _Tree()
    tips = [tree.add(branch) for branch in branches]
    if not tree.messages:
        raise CardError("there is no message in this file", "empty_chat")
    return Chat(tree.messages, tips[0], **more)
