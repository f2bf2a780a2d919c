"""What a prompt says of a scene that several characters play.

Its head is the same for all of them: the scene and who is there. What only the speaker is told stands behind the
history, and nobody else's prompt has it: its card, its motive, what it knows, what was whispered to it. So a change of
speaker costs no more than its card.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """`names` are the cast's. The rest is of the one who speaks, and empty for what all are told."""

    names: Sequence[str]
    speaker: str = ""
    motive: str = ""
    knowledge: str = ""
    whispers: Sequence[str] = ()

    @property
    def listed(self) -> str:
        """The names as a list in a sentence."""
        *others, last = self.names
        return f"{', '.join(others)} and {last}" if others else last

    def about(self, text: str) -> str:
        """`text` with the names in the place of `{{group}}`."""
        return text.replace("{{group}}", self.listed)


OPENING = "This is a scene with {{user}} and {{group}}. You play the one of them who is asked to speak."
CLOSING = (
    "Each line of the scene begins with the name of who says it. Speak as each of them speaks, and from what that one "
    "knows alone. What they don't know, they don't make up. Mean {{user}} no harm."
)
SPEAKING = "You are {{char}} now."
REQUEST = "Write what {{char}} says next, and nothing for anybody else."
EXAMPLES = "How {{char}} talks"
DIRECTION = "Who speaks next in this scene? Answer with one name alone: {names}."


def heading(name: str) -> str:
    """What stands before each line of the scene."""
    return f"{name}:\n"


def stops(names: Sequence[str]) -> tuple[str, ...]:
    """What ends a reply that goes on to speak for somebody else, or announces itself again."""
    return tuple(f"\n{name}:" for name in names)
