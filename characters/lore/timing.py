"""What lasts longer than a turn: entries that stay, rest, or fire once. Plain data in, plain data out.

Counted in messages of the chat, as SillyTavern does: an entry that is sticky for 4 and fired when the chat had 5
messages stays while it has less than 9. State that was written at the same message or later belongs to a turn that is
being replayed (another swipe of it), and counts for nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from characters.lore.coercion import Json


@dataclass(frozen=True, slots=True)
class Span:
    """From which message count until which (exclusive). `settled`: survives a replay of the turn it began in."""

    start: int
    end: int
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """What an entry asks for, in messages; 0 asks for nothing."""

    sticky: int = 0
    cooldown: int = 0
    delay: int = 0

    def __bool__(self) -> bool:
        return bool(self.sticky or self.cooldown or self.delay)


@dataclass(frozen=True, slots=True)
class LoreState:
    """What a chat remembers of its lore, by entry. Belongs to one branch of the chat; `to_json` for storing it."""

    sticky: Mapping[str, Span] = field(default_factory=dict)
    cooldown: Mapping[str, Span] = field(default_factory=dict)
    # The message count at which an entry that asks about former matches first fired.
    matched: Mapping[str, int] = field(default_factory=dict)
    # The message count at which an entry was written into the history.
    frozen: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        return asdict(self)


def parse_state(value: Json) -> LoreState:
    """The state that `to_json` wrote; an empty one for None or an empty object."""
    stored: dict[str, Any] = value or {}

    def spans(name: str) -> dict[str, Span]:
        return {uid: Span(**span) for uid, span in stored.get(name, {}).items()}

    return LoreState(spans("sticky"), spans("cooldown"), stored.get("matched", {}), stored.get("frozen", {}))


def begin(state: LoreState, timings: Mapping[str, Timing], messages: int, kept_from: int = 0) -> LoreState:
    """The state as a turn finds it: what is over is gone, and what was sticky rests where it has a cooldown.

    `timings` by entry; what the state remembers of entries that aren't there lasts until it is over.
    """
    sticky, cooldown = {}, dict(state.cooldown)
    for uid, span in state.sticky.items():
        if messages <= span.start and not span.settled:
            continue
        if uid in timings and not timings[uid].sticky:
            continue
        if messages < span.end:
            sticky[uid] = span
        elif uid in timings and timings[uid].cooldown:
            cooldown[uid] = Span(messages, messages + timings[uid].cooldown, settled=True)
    return LoreState(
        sticky,
        {uid: span for uid, span in cooldown.items() if _is_on(span, messages, timings.get(uid))},
        {uid: count for uid, count in state.matched.items() if count < messages},
        {uid: count for uid, count in state.frozen.items() if kept_from < count < messages},
    )


def _is_on(span: Span, messages: int, timing: Timing | None) -> bool:
    replayed = messages <= span.start and not span.settled
    return not replayed and messages < span.end and (timing is None or bool(timing.cooldown))


def commit(
    state: LoreState,
    timings: Mapping[str, Timing],
    messages: int,
    *,
    matched: Iterable[str] = (),
    frozen: Iterable[str] = (),
) -> LoreState:
    """The state after a turn in which the entries of `timings` fired. A span that is running isn't begun anew."""
    sticky = {uid: Span(messages, messages + timing.sticky) for uid, timing in timings.items() if timing.sticky}
    cooldown = {uid: Span(messages, messages + timing.cooldown) for uid, timing in timings.items() if timing.cooldown}
    return LoreState(
        {**sticky, **state.sticky},
        {**cooldown, **state.cooldown},
        {**dict.fromkeys(matched, messages), **state.matched},
        {**state.frozen, **dict.fromkeys(frozen, messages)},
    )
