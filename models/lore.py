"""Where lore stands in a prompt: the entries that fired become blocks of its head, its history and its tail.

Two layouts. `cache`, the default, never costs the prompt's prefix: what fires on every turn with the same words stands
in the head, everything else in the tail. `compat` is literal: each entry stands where V2, V3 or SillyTavern would put
it, whatever is computed anew for that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from characters.lore.activation import Fired, Part
from characters.lore.placement import DEFAULT_DEPTH, ROLES, Placement, Position

Layout = Literal["cache", "compat"]

# From the top of a prompt to its end; SillyTavern's order of a chat prompt.
ORDER = (
    Position.BEFORE_CHAR,
    Position.BEFORE_DESC,
    Position.AFTER_DESC,
    Position.PERSONALITY,
    Position.SCENARIO,
    Position.AFTER_CHAR,
    Position.EXAMPLES_TOP,
    Position.EXAMPLES_BOTTOM,
    Position.NOTE_TOP,
    Position.NOTE_BOTTOM,
    Position.DEPTH,
)
NOTES = frozenset({Position.NOTE_TOP, Position.NOTE_BOTTOM})


@dataclass(frozen=True, slots=True)
class LoreBlock:
    """Entries that stand together: their text, one below the other, and their place.

    In the part `history`, `placement` says how many messages from the end the block stands, and as whose message;
    a block that is to be frozen is written before the newest message of the user's, and stays there.
    """

    name: str
    part: Part
    placement: Placement
    text: str
    # By uid, in the order of the text.
    entries: tuple[str, ...]
    frozen: bool = False


def build_lore_blocks(fired: Sequence[Fired], layout: Layout = "cache") -> list[LoreBlock]:
    """The blocks of a turn, from the top of the prompt to its end. `fired` is an activation's, in its order.

    In none of them are entries for an outlet, which `outlets` has, and those that begin the reply (`beginning`).
    """
    grouped: dict[tuple[Part, Placement, bool], list[Fired]] = {}
    for one in fired:
        if one.placement.position is not Position.OUTLET and not _begins_reply(one):
            grouped.setdefault(_place(one, layout), []).append(one)
    blocks = [
        LoreBlock(
            _name(place, freezes),
            part,
            place,
            "\n".join(one.content.strip() for one in several),
            tuple(one.rule.uid for one in several),
            freezes,
        )
        for (part, place, freezes), several in grouped.items()
    ]
    return sorted(blocks, key=_from_the_top)


def frozen_text(blocks: Sequence[LoreBlock]) -> str:
    """The text that is written into the history with this turn, to stay there."""
    return "\n".join(block.text for block in blocks if block.frozen)


def beginning(fired: Sequence[Fired]) -> str:
    """The words that the character's reply begins with, to be gone on from; "" for none."""
    return "\n".join(one.content.strip() for one in fired if _begins_reply(one))


def outlets(fired: Sequence[Fired]) -> dict[str, str]:
    """What `{{outlet::name}}` stands for, by name."""
    texts: dict[str, list[str]] = {}
    for one in fired:
        if one.placement.position is Position.OUTLET:
            texts.setdefault(one.placement.outlet, []).append(one.content.strip())
    return {name: "\n".join(several) for name, several in texts.items()}


def _begins_reply(one: Fired) -> bool:
    return one.placement.begins_reply and not one.rule.freezes


def _place(one: Fired, layout: Layout) -> tuple[Part, Placement, bool]:
    """The part, the place in it, and whether the entry is frozen there."""
    if one.rule.freezes:
        return "history", Placement(Position.DEPTH, 1), True
    place = one.placement
    if layout == "cache":
        return one.part, place, False
    if place.position in NOTES:
        # SillyTavern's own depth of the author's note.
        return "history", Placement(place.position, DEFAULT_DEPTH, place.role), False
    return ("history" if place.position is Position.DEPTH else "head"), place, False


def _from_the_top(block: LoreBlock) -> tuple[int, bool, int, int, int]:
    """Head before history before tail; deeper messages first, at one depth the system's last, as in SillyTavern."""
    place = block.placement
    part = ("head", "history", "tail").index(block.part)
    return part, not block.frozen, ORDER.index(place.position), -place.depth, -ROLES.index(place.role)


def _name(place: Placement, freezes: bool) -> str:
    if freezes:
        return "lore, frozen"
    if place.position is Position.DEPTH:
        return f"lore, {place.role} at depth {place.depth}"
    return f"lore, {place.position}"
