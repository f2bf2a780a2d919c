"""One turn of lore: which entries fire for a chat, in what order, within what budget, and why the others don't.

As SillyTavern does it (public/scripts/world-info.js, checkWorldInfo), with V3's decorators, and with chance that can
be replayed.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from characters.lore.budget import fit
from characters.lore.chat import Chat
from characters.lore.coercion import Json
from characters.lore.placement import Placement
from characters.lore.reason import Reason
from characters.lore.rounds import Turn
from characters.lore.rule import Defaults, Rule, Rulebook
from characters.lore.search import EFFORT, Search
from characters.lore.timing import LoreState, begin, commit

Part = Literal["head", "history", "tail"]


@dataclass(frozen=True, slots=True)
class Fired:
    """An entry that is told: its content with macros replaced, why it fired, and its place."""

    rule: Rule
    content: str
    why: str
    tokens: int

    @property
    def placement(self) -> Placement:
        return self.rule.placement

    @property
    def part(self) -> Part:
        """Where it costs the prompt's prefix nothing: `head`, `tail`, or `history` where it asks to be frozen."""
        if self.rule.freezes:
            return "history"
        return "head" if self.rule.permanent else "tail"

    def to_json(self) -> dict[str, Json]:
        return {
            "entry": self.rule.uid,
            "name": self.rule.name,
            "why": self.why,
            "part": self.part,
            **asdict(self.placement),
            "order": self.rule.order,
            "tokens": self.tokens,
            "content": self.content,
        }


@dataclass(frozen=True, slots=True)
class NotFired:
    """An entry that isn't told, and why."""

    rule: Rule
    reason: Reason


@dataclass(frozen=True, slots=True)
class Activation:
    """A turn's lore. `fired` in the order of the prompt, `not_fired` in the order of the books.

    `state` is what the next turn is given. `disabled` names parts of the prompt that a fired entry turns off.
    """

    fired: tuple[Fired, ...]
    not_fired: tuple[NotFired, ...]
    state: LoreState
    disabled: frozenset[str]

    def to_json(self) -> dict[str, Json]:
        """`fired` and `not_fired` for whoever tests a book."""
        return {
            "fired": [one.to_json() for one in self.fired],
            "not_fired": [
                {"entry": one.rule.uid, "name": one.rule.name, "reason": str(one.reason)} for one in self.not_fired
            ],
        }


def activate(
    books: Sequence[Rulebook],
    chat: Chat,
    *,
    seed: str,
    count_tokens: Callable[[str], int],
    state: LoreState = LoreState(),
    defaults: Defaults = Defaults(),
    expand: Callable[[str], str] = str,
    effort: int = EFFORT,
) -> Activation:
    """The lore of the turn that answers `chat`'s last message.

    `seed` decides all chance: give the session's and the turn's, and the turn can be replayed. `state` is what the
    turn before returned. `expand` replaces macros in what is told. Books have different names.
    """
    rules = {rule.uid: rule for book in books for rule in book.rules}
    assert len(rules) == sum(len(book.rules) for book in books)
    now = begin(state, {uid: rule.timing for uid, rule in rules.items()}, chat.message_count, chat.kept_from)
    turn = Turn(rules, chat, now, Search(chat, effort), defaults, seed, expand)
    turn.run()
    kept = fit(
        [(rule, turn.told[uid].content) for uid, rule in rules.items() if uid in turn.told],
        count_tokens=count_tokens,
        budgets=_budgets(books, defaults),
    )
    fired = [
        Fired(rule, turn.told[uid].content, turn.told[uid].why, kept[uid]) for uid, rule in rules.items() if uid in kept
    ]
    fired.sort(key=lambda one: one.rule.order)
    not_fired = [
        NotFired(rule, Reason.BUDGET if uid in turn.told else turn.reasons[uid])
        for uid, rule in rules.items()
        if uid not in kept
    ]
    return Activation(tuple(fired), tuple(not_fired), _commit(now, fired, chat), _disabled(fired))


def _budgets(books: Sequence[Rulebook], defaults: Defaults) -> dict[str | None, int]:
    said: dict[str | None, int | None] = {None: defaults.token_budget}
    said |= {book.name: book.token_budget for book in books}
    return {whose: tokens for whose, tokens in said.items() if tokens is not None}


def _commit(state: LoreState, fired: Sequence[Fired], chat: Chat) -> LoreState:
    rules = [one.rule for one in fired]
    return commit(
        state,
        {rule.uid: rule.timing for rule in rules},
        chat.message_count,
        matched=[rule.uid for rule in rules if rule.condition.keeps_on or rule.condition.only_once],
        frozen=[rule.uid for rule in rules if rule.freezes],
    )


def _disabled(fired: Sequence[Fired]) -> frozenset[str]:
    return frozenset(one.rule.disables for one in fired if one.rule.disables)
