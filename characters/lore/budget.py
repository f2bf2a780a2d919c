"""The token budget: which of the entries that fired are told.

V2 and V3: what has the lowest priority is dropped first, until the rest fits. So whatever ranks below an entry that
doesn't fit is dropped with it. Permanent entries come before all others: they stand in a prompt's head, which must
not change from turn to turn.
"""

from collections.abc import Callable, Iterable, Mapping

from characters.lore.rule import Rule


def rank(rule: Rule) -> tuple[bool, float, float]:
    """Sorts rules that should be kept longest to the front; the file's order decides between equals."""
    return rule.expendable, -rule.priority, -rule.order


def fit(
    told: Iterable[tuple[Rule, str]],
    *,
    count_tokens: Callable[[str], int],
    budgets: Mapping[str | None, int],
) -> dict[str, int]:
    """Tokens by the uid of each rule that fits. `budgets` by book, and under None for all together.

    `count_tokens` is asked for each content with the line break after it. Entries that ignore the budget are kept
    whatever they cost, and cost the others nothing.
    """
    left = dict(budgets)
    kept: dict[str, int] = {}
    ranked = sorted(told, key=lambda one: rank(one[0]))
    for permanent in (True, False):
        closed: set[str | None] = set()
        for rule, content in ranked:
            if rule.permanent is not permanent:
                continue
            purses = [] if rule.ignores_budget else [purse for purse in (rule.book, None) if purse in left]
            if closed.intersection(purses):
                continue
            tokens = count_tokens(content + "\n")
            short = [purse for purse in purses if tokens > left[purse]]
            if short:
                closed.update(short)
                continue
            for purse in purses:
                left[purse] -= tokens
            kept[rule.uid] = tokens
    return kept
