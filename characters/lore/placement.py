"""Where in a prompt an entry belongs: by V2's `position`, V3's decorators, or SillyTavern's numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from characters.lore.chat import Role

# SillyTavern's depth where an entry at depth names none.
DEFAULT_DEPTH = 4


class Position(StrEnum):
    """The places that lorebooks know, named as the specifications name them."""

    BEFORE_CHAR = "before_char"
    AFTER_CHAR = "after_char"
    BEFORE_DESC = "before_desc"
    AFTER_DESC = "after_desc"
    PERSONALITY = "personality"
    SCENARIO = "scenario"
    NOTE_TOP = "note_top"
    NOTE_BOTTOM = "note_bottom"
    EXAMPLES_TOP = "examples_top"
    EXAMPLES_BOTTOM = "examples_bottom"
    # `depth` messages from the end of the chat; 0 stands after the newest.
    DEPTH = "depth"
    # Nowhere, but where a prompt says `{{outlet::name}}`.
    OUTLET = "outlet"


# By SillyTavern's `position`.
NUMBERED = (
    Position.BEFORE_CHAR,
    Position.AFTER_CHAR,
    Position.NOTE_TOP,
    Position.NOTE_BOTTOM,
    Position.DEPTH,
    Position.EXAMPLES_TOP,
    Position.EXAMPLES_BOTTOM,
    Position.OUTLET,
)
# By SillyTavern's `role`.
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
# Beside the newest messages, whatever they are: wanting to be close is why they are there.
CLOSE = frozenset({Position.DEPTH, Position.NOTE_TOP, Position.NOTE_BOTTOM, Position.OUTLET})


@dataclass(frozen=True, slots=True)
class Placement:
    """A place in the prompt. `depth` says something at DEPTH alone, `outlet` at OUTLET."""

    position: Position = Position.AFTER_CHAR
    depth: int = 0
    role: Role = "system"
    outlet: str = ""

    @property
    def begins_reply(self) -> bool:
        """Whether it is behind all that was said, as the character's: what stands there begins the reply (V3)."""
        return self.position is Position.DEPTH and not self.depth and self.role == "assistant"


def build_placement(
    position: str | None,
    decorators: Mapping[str, str],
    *,
    number: float | None = None,
    depth: int = DEFAULT_DEPTH,
    role: int = 0,
    outlet: str = "",
) -> Placement:
    """V3's decorators first, of which `position` beats `depth`; then SillyTavern's `number`; then V2's `position`."""
    named_role: Role = ROLES[role] if 0 <= role < len(ROLES) else "system"
    decorated: Role | None = next((name for name in ROLES if name == decorators.get("role")), None)
    said_role = decorated or named_role
    if "position" in decorators:
        return Placement(Position(decorators["position"]), role=said_role)
    if "depth" in decorators:
        return Placement(Position.DEPTH, max(0, int(decorators["depth"])), said_role)
    if "end" in decorators:
        return Placement(Position.DEPTH, 0, said_role)
    if number is not None and number in range(len(NUMBERED)):
        at = NUMBERED[int(number)]
        return Placement(at, max(0, depth) if at is Position.DEPTH else 0, said_role, outlet)
    return Placement(Position.BEFORE_CHAR if position == "before_char" else Position.AFTER_CHAR, role=said_role)
