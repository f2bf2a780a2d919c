"""Rule: a lorebook's entry as it is carried out, every default filled in and every key compiled."""

from dataclasses import dataclass

from characters.lore.condition import Condition
from characters.lore.groups import Membership
from characters.lore.keyring import Keyring
from characters.lore.placement import CLOSE, Placement
from characters.lore.timing import Timing


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where a lorebook or its entry doesn't say.

    The scan depth is SillyTavern's; keys are matched by V3's word "contains"; recursion, which V3 leaves open, is off.
    """

    scan_depth: int = 2
    recursive: bool = False
    # Rounds in which entries are looked for in what others said, before it is enough.
    max_rounds: int = 10
    case_sensitive: bool = False
    whole_words: bool = False
    scores_groups: bool = False
    # For all books together, beside what each book allows itself.
    token_budget: int | None = None


@dataclass(frozen=True, slots=True)
class Recursion:
    """Whether an entry is found in what other entries say, and others in what it says."""

    reads: bool = False
    is_read: bool = False
    # Rounds of recursion it waits for; 0 fires from the chat itself.
    level: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry, ready to fire. `uid` names it among all books, and stays while the book changes around it."""

    uid: str
    book: str
    name: str
    # Without its decorators, its macros as they were written.
    content: str
    keyring: Keyring
    enabled: bool
    constant: bool
    # V3's @@activate and @@dont_activate.
    forced: bool | None
    # V3's regular expressions, of which a broken one keeps the others from matching.
    strict_regex: bool
    # In messages.
    scan_depth: int
    sources: tuple[str, ...]
    condition: Condition
    recursion: Recursion
    timing: Timing
    membership: Membership
    # In percent.
    probability: float
    # Lower stands earlier in the prompt; lower is dropped earlier from the budget.
    order: float
    priority: float
    ignores_budget: bool
    # Dropped before all others when the budget is short.
    expendable: bool
    placement: Placement
    # Is written into the history where it fires.
    freezes: bool
    # A part of the prompt that it turns off: system_prompt, post_history_instructions.
    disables: str
    # Its content says something else each time it is told.
    volatile: bool

    @property
    def permanent(self) -> bool:
        """Whether it fires on every turn with the same words, so that it can stand in a prompt's head."""
        conditional = (
            self.condition != Condition()
            or self.timing != Timing()
            or self.membership.names
            or self.recursion.level
            or self.probability < 100
        )
        movable = self.volatile or self.freezes or self.expendable or self.placement.position in CLOSE
        always = (self.constant and self.forced is None) or self.forced is True
        return self.enabled and always and not conditional and not movable


@dataclass(frozen=True, slots=True)
class Rulebook:
    """A lorebook's rules in the file's order, its token budget if it has one, and what couldn't be carried out."""

    name: str
    rules: tuple[Rule, ...]
    token_budget: int | None
    warnings: tuple[str, ...]
