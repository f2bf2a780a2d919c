"""When a history will be cut, and where: settled after a turn, while its user reads, for the next one to make.

What comes next isn't known, so it is taken to be long. A plan that was made too early stays good for a few exchanges.
"""

from collections.abc import Sequence
from functools import partial
from statistics import fmean

from models.prompt import PromptTooLong, next_cut
from models.renderer import Renderer, Turn

# Of what fits into a prompt: how much more than this turn's the next turn's tail may be, at 1/32 a lore entry or two.
MARGIN_SHARE = 1 / 32
# Turns by whose length the next message's is guessed, and what the template puts around each.
LATEST, GLUE_TOKENS = 16, 8
# How many exchanges, with margin, a planned cut leaves free: a cut keeps 60 % of the room, and each takes up its own.
SPARE = 2


def plan_cut(
    renderer: Renderer,
    head: Sequence[Turn],
    turns: Sequence[Turn],
    *,
    beside_tokens: int,
    limit_tokens: int,
    start: int = 0,
    planned: int | None = None,
) -> int | None:
    """Where the next turn will cut `turns[start:]`, when it may have to; None when it won't, or nothing would be left.

    `beside_tokens` are those of its tail. A cut that is `planned` already stays where it is while the next turn will
    make it.
    """
    asked, exchange = expect(turns)
    margin = int(limit_tokens * MARGIN_SHARE)
    expected = beside_tokens + asked + margin
    look = partial(next_cut, renderer, head, turns, limit_tokens=limit_tokens, start=start)
    try:
        due = look(expected_tokens=expected)
        if due is None or (planned is not None and due <= planned < len(turns)):
            return None if due is None else planned
        cut = look(expected_tokens=expected + SPARE * (margin + exchange))
    except PromptTooLong:
        return None
    return cut if cut is not None and cut < len(turns) else None


def expect(turns: Sequence[Turn]) -> tuple[int, int]:
    """How many tokens the user's next message has at most, by the latest ones, and how many an exchange takes."""
    latest = turns[-LATEST:]
    asked = [len(turn.token_ids) for turn in latest if turn.role == "user"]
    if not asked:
        return GLUE_TOKENS, GLUE_TOKENS
    exchange = sum(len(turn.token_ids) + GLUE_TOKENS for turn in latest) // len(asked)
    return max(max(asked), int(2 * fmean(asked))) + GLUE_TOKENS, exchange
