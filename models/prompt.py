"""The layout of a prompt: card, user and turns become head, history and tail.

- head: everything that stays the same for a whole session: one system message, then the card's examples as turns.
- history: the turns, as the exact ids they were rendered or generated with.
- tail: what changes each turn, as a system message just before the last message of the user's.

So a prompt without its tail is a prefix of the next one, and the engine's KV cache is read instead of computed. When
the budget is full the history is cut once, in a block, at a turn of the user's; the next cut is many turns away.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from characters.card import DEFAULT_USER, CharacterCard

from models.examples import Line, parse_examples
from models.renderer import Renderer, Turn

# What a cut leaves of the room that history has. Lower: rarer cuts, shorter memory.
KEEP_SHARE = 0.6

OPENING = "You are {{char}}, talking with {{user}}. You stay {{char}} from the first word to the last."
CLOSING = (
    "Speak as {{char}} speaks, from what is written above and what has been said, and from nothing else. "
    "What {{char}} doesn't know, {{char}} doesn't make up. Mean {{user}} no harm."
)

EXAMPLE = "An example of how {{char}} talks:"
BEGINNING = "So much for examples. Here the conversation begins."


class PromptTooLong(ValueError):
    """What must be in the prompt doesn't fit. `needed_tokens` and `limit_tokens` say by how much."""

    def __init__(self, needed_tokens: int, limit_tokens: int, what: str) -> None:
        super().__init__(
            f"{what} needs {needed_tokens} tokens, and {limit_tokens} fit into the model's context beside the reply"
        )
        self.needed_tokens = needed_tokens
        self.limit_tokens = limit_tokens


@dataclass(frozen=True, slots=True)
class UserPersona:
    """Who the user plays."""

    name: str = DEFAULT_USER
    persona: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Ids to send to the engine. `start` counts the turns of the history that were left out."""

    token_ids: list[int]
    start: int


def head_text(card: CharacterCard, user: UserPersona = UserPersona(), extra: str = "") -> str:
    """The system message of a conversation with `card`; sections that have nothing to say are left out.

    The card's `system_prompt` stands in for our opening, which it can quote as `{{original}}`. `extra` is what a client
    sent as its own system message.
    """
    data = card.data
    sections = [
        ("", data.system_prompt or OPENING),
        ("Persona", card.persona),
        ("Character Profile", card.profile.lines() if card.profile else ""),
        ("Description", data.description),
        ("Personality", data.personality),
        ("Scenario", data.scenario),
        ("About {{user}}", user.persona),
        ("Instructions", extra),
        ("", CLOSING),
    ]
    original = card.expand(OPENING, user.name)
    blocks = [f"# {title}\n{text.strip()}" if title else text.strip() for title, text in sections if text.strip()]
    return card.expand("\n\n".join(blocks), user.name, original)


def head_lines(card: CharacterCard, user: UserPersona = UserPersona(), extra: str = "") -> list[Line]:
    """The head as messages: `head_text` as the system's, then the card's examples, announced, and their end."""
    lines = [Line("system", head_text(card, user, extra))]
    examples = parse_examples(card, user.name)
    for example in examples:
        announced = card.expand(EXAMPLE, user.name) + (f"\n{example.scene}" if example.scene else "")
        lines += [Line("system", announced), *example.lines]
    return [*lines, Line("system", BEGINNING)] if examples else lines


def build_head(
    encode: Callable[[str], Sequence[int]],
    card: CharacterCard,
    user: UserPersona = UserPersona(),
    extra: str = "",
) -> list[Turn]:
    """`head_lines` as turns."""
    return [Turn(line.role, encode(line.text)) for line in head_lines(card, user, extra)]


def count_tokens(turns: Sequence[Turn]) -> int:
    """Tokens of the turns' content, without the template's glue."""
    return sum(len(turn.token_ids) for turn in turns)


def tail_text(card: CharacterCard, user: UserPersona = UserPersona(), extra: str = "") -> str:
    """What is said to the model anew before each message of the user's: the card's post-history instructions.

    Before them `extra`, what a client sends as its own.
    """
    sections = (extra.strip(), card.data.post_history_instructions.strip())
    return card.expand("\n\n".join(section for section in sections if section), user.name)


def build_prompt(
    renderer: Renderer,
    head: Sequence[Turn],
    turns: Sequence[Turn],
    *,
    tail: Sequence[int] = (),
    limit_tokens: int,
    start: int = 0,
    cut: bool = True,
) -> Prompt:
    """Prompt ids for the next reply: head, `turns[start:]`, with the tail before the last turn of the user's.

    When that exceeds `limit_tokens`, history is cut to KEEP_SHARE of its room and the new `start` is returned, to be
    passed from then on; with `cut` False it is refused instead. Raises PromptTooLong then, and when head, tail and the
    last exchange alone don't fit.
    """
    layout = Layout(renderer, head, turns, tail)
    start = min(start, layout.last_user)
    ids = layout.render(start)
    if len(ids) <= limit_tokens:
        return Prompt(ids, start)
    if not cut:
        raise PromptTooLong(len(ids), limit_tokens, "the conversation")
    target = layout.kept_tokens(limit_tokens, KEEP_SHARE)
    starts = layout.starts(start)
    fitting = bisect_left(starts, -target, key=layout.shrinking)
    start = starts[fitting] if fitting < len(starts) else layout.last_user
    return Prompt(layout.render(start), start)


class Layout:
    """A conversation that can be rendered from each of its turns on."""

    def __init__(self, renderer: Renderer, head: Sequence[Turn], turns: Sequence[Turn], tail: Sequence[int]) -> None:
        self._renderer = renderer
        self._turns = turns
        self._opening = list(head)
        self._closing = [Turn("system", tail)] if tail else []
        self.last_user = max((index for index, turn in enumerate(turns) if turn.role == "user"), default=len(turns))

    def render(self, start: int) -> list[int]:
        history, current = self._turns[start : self.last_user], self._turns[self.last_user :]
        return self._renderer.render([*self._opening, *history, *self._closing, *current])

    def shrinking(self, start: int) -> int:
        """A key by which later starts sort after earlier ones: the tokens of the prompt, negative."""
        return -len(self.render(start))

    def starts(self, start: int) -> list[int]:
        """Where history that begins with `start` may be cut: the turns of the user's after that one."""
        return [index for index in range(start + 1, len(self._turns)) if self._turns[index].role == "user"]

    def kept_tokens(self, limit_tokens: int, share: float) -> int:
        """How long a prompt is whose history fills `share` of its room. Raises PromptTooLong when there is none."""
        fixed = -self.shrinking(self.last_user)
        if fixed > limit_tokens:
            needed = len(self._renderer.render(self._opening))
            if needed > limit_tokens:
                raise PromptTooLong(needed, limit_tokens, "the character's card")
            raise PromptTooLong(fixed, limit_tokens, "the card with the last message")
        return fixed + int((limit_tokens - fixed) * share)
