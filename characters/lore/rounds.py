"""The rounds of a turn: entries are looked for in the chat, then in what the entries of the round before say.

A round tells something new or is the last, and an entry is told once, so rounds end; `Defaults.max_rounds` ends them
earlier. Entries that wait for recursion come in when a round tells nothing new, level by level.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from characters.chance import roll
from characters.lore.budget import rank
from characters.lore.chat import Chat
from characters.lore.groups import find_losers
from characters.lore.reason import Reason
from characters.lore.rule import Defaults, Rule
from characters.lore.search import Search
from characters.lore.timing import LoreState


@dataclass(frozen=True, slots=True)
class Hit:
    """That an entry fires, and why. `certain`: without a roll of its chance."""

    why: str
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What an entry says, its macros replaced, and why it fired."""

    content: str
    why: str


@dataclass(slots=True)
class Turn:
    """One turn: what it is about, and, by uid, what was told so far and why the rest wasn't."""

    rules: Mapping[str, Rule]
    chat: Chat
    # As `begin` returned it.
    state: LoreState
    search: Search
    defaults: Defaults
    seed: str
    expand: Callable[[str], str]
    told: dict[str, Told] = field(default_factory=dict)
    reasons: dict[str, Reason] = field(default_factory=dict)

    def run(self) -> None:
        """Tell all that fires, before the budget."""
        hits: dict[str, Hit] = {}
        pending: list[Rule] = []
        for rule in self.rules.values():
            verdict = self._judge_beforehand(rule)
            if verdict is None:
                pending.append(rule)
            else:
                self._note(rule, verdict, hits)
        waiting = sorted({rule.recursion.level for rule in pending if rule.recursion.level})
        level = 0
        for round_ in range(self.defaults.max_rounds + 1):
            for rule in pending:
                self._note(rule, self._judge(rule, level), hits)
            heard = self._tell(hits)
            pending = [rule for rule in pending if rule.uid not in hits and rule.recursion.reads]
            hits = {}
            if not heard and not (round_ and waiting):
                break
            if waiting and (not heard or not round_):
                level = waiting.pop(0)

    def _note(self, rule: Rule, verdict: Hit | Reason, hits: dict[str, Hit]) -> None:
        if isinstance(verdict, Hit):
            hits[rule.uid] = verdict
        else:
            self.reasons[rule.uid] = verdict

    def _judge_beforehand(self, rule: Rule) -> Hit | Reason | None:
        """What is decided before anything is read; None where the text decides.

        `@@activate` and its like hold "in any case" (V3), so they go before all other conditions.
        """
        if not rule.enabled:
            return Reason.DISABLED
        if not rule.content.strip():
            return Reason.EMPTY
        if filtered := rule.condition.filtered_by(self.chat):
            return filtered
        if rule.uid in self.state.frozen:
            return Reason.FROZEN
        if rule.forced is not None:
            return Hit("@@activate", certain=True) if rule.forced else Reason.FORBIDDEN
        if rule.uid in self.state.matched and (rule.condition.only_once or rule.condition.keeps_on):
            return Reason.ONCE if rule.condition.only_once else Hit("fired before", certain=True)
        if unmet := rule.condition.unmet_in(self.chat):
            return unmet
        if self.chat.message_count < rule.timing.delay:
            return Reason.DELAY
        if rule.uid in self.state.sticky:
            return Hit("sticky", certain=True)
        return Reason.COOLDOWN if rule.uid in self.state.cooldown else None

    def _judge(self, rule: Rule, level: int) -> Hit | Reason:
        """What the text says in this round, for an entry that nothing has decided yet."""
        if rule.recursion.level > level:
            return Reason.RECURSION
        if rule.constant:
            return Hit("constant")
        found = self.search.match(rule)
        return found if isinstance(found, Reason) else Hit(f"key: {found.text}")

    def _tell(self, hits: Mapping[str, Hit]) -> bool:
        """Tell what survives groups and chance; whether others can read any of it."""
        sticky = self.state.sticky
        ranked = sorted(hits, key=lambda uid: (uid not in sticky, rank(self.rules[uid])))
        losers = find_losers(
            {uid: self.rules[uid].membership for uid in ranked if self.rules[uid].membership.names},
            sticky=sticky,
            taken={name for uid in self.told for name in self.rules[uid].membership.names},
            score=lambda uid: self.search.score(self.rules[uid]),
            scored=self.defaults.scores_groups,
            seed=self.seed,
        )
        heard = []
        for uid in ranked:
            rule = self.rules[uid]
            if uid in losers:
                self.reasons[uid] = Reason.GROUP
            elif not hits[uid].certain and roll(self.seed, "entry", uid) * 100 >= rule.probability:
                self.reasons[uid] = Reason.PROBABILITY
            elif not (content := self.expand(rule.content)).strip():
                self.reasons[uid] = Reason.EMPTY
            else:
                self.told[uid] = Told(content, hits[uid].why)
                if rule.recursion.is_read:
                    heard.append(content)
        if heard:
            self.search.tell(heard)
        return bool(heard)
