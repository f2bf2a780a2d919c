"""The layout of a prompt: head, history and what stands among its last turns become token ids.

- head: everything that stays the same for a whole session: one system message, then the card's examples as turns.
- history: the turns, as the exact ids they were rendered or generated with.
- tail: what changes each turn, inserted just before the last message of the user's, or at a depth.

So a prompt without its tail is a prefix of the next one, and the engine's KV cache is read instead of computed. When
the budget is full the history is cut once, in a block, at a turn of the user's or between two of the assistant's, where
several talk on; the next cut is many turns away. A cut can be planned before it is due, so that what it leaves is read
ahead of it (`models.cut`).
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from models.renderer import Renderer, Turn

# What a cut leaves of the room that history has. Lower: rarer cuts, shorter memory.
KEEP_SHARE = 0.6


class PromptTooLong(ValueError):
    """What must be in the prompt doesn't fit. `needed_tokens` and `limit_tokens` say by how much."""

    def __init__(self, needed_tokens: int, limit_tokens: int, what: str) -> None:
        super().__init__(
            f"{what} needs {needed_tokens} tokens, and {limit_tokens} fit into the model's context beside the reply"
        )
        self.needed_tokens = needed_tokens
        self.limit_tokens = limit_tokens


@dataclass(frozen=True, slots=True)
class Insertion:
    """A message among the turns that is none of them. `depth` counts the turns that stand after it.

    None is before the last turn of the user's. Deeper than the history goes is at its beginning; a reply that is
    being continued counts for none and stays last.
    """

    turn: Turn
    depth: int | None = None


@dataclass(frozen=True, slots=True)
class PlannedCut:
    """A cut that is made when one is due: where history begins from then on, and the head that it stands behind."""

    start: int
    head: Sequence[Turn]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Ids to send to the engine. `start` counts the turns of the history that were left out.

    `as_planned` says that the planned cut was made.
    """

    token_ids: list[int]
    start: int
    as_planned: bool = False


def count_tokens(turns: Sequence[Turn]) -> int:
    """Tokens of the turns' content, without the template's glue."""
    return sum(len(turn.token_ids) for turn in turns)


def build_prompt(
    renderer: Renderer,
    head: Sequence[Turn],
    turns: Sequence[Turn],
    *,
    inserted: Sequence[Insertion] = (),
    limit_tokens: int,
    start: int = 0,
    cut: bool = True,
    planned: PlannedCut | None = None,
) -> Prompt:
    """Prompt ids for the next reply: head, and `turns[start:]` with what is inserted among them.

    When that exceeds `limit_tokens`, history is cut to KEEP_SHARE of its room and the new `start` is returned, to be
    passed from then on; with `cut` False it is refused instead. A `planned` cut is made in its place where it fits and
    keeps no more. Raises PromptTooLong where it is refused, and when head, insertions and the last exchange alone don't
    fit.
    """
    layout = Layout(renderer, head, turns, inserted)
    start = min(start, layout.last)
    ids = layout.render(start)
    if len(ids) <= limit_tokens:
        return Prompt(ids, start)
    if not cut:
        raise PromptTooLong(len(ids), limit_tokens, "the conversation")
    start = layout.cut(start, limit_tokens)
    if planned is not None and start <= planned.start <= layout.last:
        ids = Layout(renderer, planned.head, turns, inserted).render(planned.start)
        if len(ids) <= limit_tokens:
            return Prompt(ids, planned.start, as_planned=True)
    return Prompt(layout.render(start), start)


def next_cut(
    renderer: Renderer,
    head: Sequence[Turn],
    turns: Sequence[Turn],
    *,
    expected_tokens: int,
    limit_tokens: int,
    start: int = 0,
) -> int | None:
    """Where `build_prompt` will cut for the user's next message, when that and all beside it are `expected_tokens`.

    None when they fit. Raises PromptTooLong as it does.
    """
    layout = Layout(renderer, head, [*turns, Turn("user", [0] * expected_tokens)], ())
    fits = len(layout.render(min(start, layout.last_user))) <= limit_tokens
    return None if fits else layout.cut(start, limit_tokens)


def build_prefix(renderer: Renderer, head: Sequence[Turn], turns: Sequence[Turn]) -> list[int]:
    """The ids with which the next prompt begins, whatever is said: head and turns, all of them closed."""
    return [token_id for segment in renderer.segments([*head, *turns]) for token_id in segment.token_ids]


class Layout:
    """A conversation that can be rendered from each of its turns on."""

    def __init__(
        self, renderer: Renderer, head: Sequence[Turn], turns: Sequence[Turn], inserted: Sequence[Insertion]
    ) -> None:
        self._renderer = renderer
        self._turns = turns
        self._opening = list(head)
        # A reply that has begun is open, and none of what was said.
        end = len(turns) - 1 if turns and turns[-1].role == "assistant" else len(turns)
        self.last_user = max((index for index, turn in enumerate(turns) if turn.role == "user"), default=end)
        self.last = max(0, end - 1)
        self._inserted: defaultdict[int, list[Turn]] = defaultdict(list)
        for insertion in inserted:
            place = self.last_user if insertion.depth is None else max(0, end - insertion.depth)
            self._inserted[place].append(insertion.turn)

    def render(self, start: int) -> list[int]:
        turns = list(self._opening)
        read = start
        for place in sorted(self._inserted):
            turns += self._turns[read : max(read, place)]
            turns += self._inserted[place]
            read = max(read, place)
        return self._renderer.render([*turns, *self._turns[read:]])

    def shrinking(self, start: int) -> int:
        """A key by which later starts sort after earlier ones: the tokens of the prompt, negative."""
        return -len(self.render(start))

    def starts(self, start: int) -> list[int]:
        """Where history that begins with `start` may be cut: the turns of the user's after that one."""
        return [index for index in range(start + 1, len(self._turns)) if self._turns[index].role == "user"]

    def breaks(self, start: int) -> list[int]:
        """Those, and turns of the assistant's after another: who talks on doesn't keep history from being cut."""
        roles = [turn.role for turn in self._turns[: self.last + 1]]
        return [
            index
            for index in range(start + 1, len(roles))
            if roles[index] == "user" or roles[index - 1] == roles[index] == "assistant"
        ]

    def cut(self, start: int, limit_tokens: int) -> int:
        """Where history begins that is cut to KEEP_SHARE of its room. Raises PromptTooLong when there is none."""
        target = self.kept_tokens(limit_tokens, KEEP_SHARE)
        starts = self.breaks(start)
        fitting = bisect_left(starts, -target, key=self.shrinking)
        start = starts[fitting] if fitting < len(starts) else self.latest(limit_tokens)
        # What was written into the history for a message of the user's goes or stays with it.
        with_lore = self.before(start)
        return with_lore if len(self.render(with_lore)) <= limit_tokens else start

    def before(self, start: int) -> int:
        """The first of the system's turns right before that one."""
        while start and self._turns[start - 1].role == "system":
            start -= 1
        return start

    def latest(self, limit_tokens: int) -> int:
        """Where history begins at the latest: with the user's last turn, or the last one where that is too far back."""
        latest = min(self.last_user, self.last)
        return latest if -self.shrinking(latest) <= limit_tokens else self.last

    def kept_tokens(self, limit_tokens: int, share: float) -> int:
        """How long a prompt is whose history fills `share` of its room. Raises PromptTooLong when there is none."""
        fixed = -self.shrinking(self.latest(limit_tokens))
        if fixed > limit_tokens:
            needed = len(self._renderer.render(self._opening))
            if needed > limit_tokens:
                raise PromptTooLong(needed, limit_tokens, "the character's card")
            raise PromptTooLong(fixed, limit_tokens, "the card with the last message")
        return fixed + int((limit_tokens - fixed) * share)
