"""Inclusion groups: of the entries of one group, one is told.

Who it is: those that are sticky; else nobody, where one of the group fired already; else, where the group keeps
score, whose keys were found most often; else the first that insists; else chance, by weight. As in SillyTavern.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from characters.chance import roll

DEFAULT_WEIGHT = 100


@dataclass(frozen=True, slots=True)
class Membership:
    """The groups of an entry and its standing in them."""

    names: tuple[str, ...] = ()
    # Goes before chance.
    insists: bool = False
    weight: float = DEFAULT_WEIGHT
    # None: as the chat's settings say.
    scored: bool | None = None


def find_losers(
    candidates: Mapping[str, Membership],
    *,
    sticky: Collection[str],
    taken: Collection[str],
    score: Callable[[str], int],
    scored: bool,
    seed: str,
) -> set[str]:
    """The candidates (entries in the order of their rank, the first the highest) that give way to others of a group.

    `taken` are the groups of which an entry fired before; `scored` is whether a group keeps score where its members
    don't say.
    """
    groups: dict[str, list[str]] = {}
    for uid, membership in candidates.items():
        for name in membership.names:
            groups.setdefault(name, []).append(uid)
    losers: set[str] = set()
    for name, members in groups.items():
        running = [uid for uid in members if uid not in losers]
        winners = _find_winners(name, running, candidates, sticky, taken, score, scored, seed)
        losers.update(uid for uid in running if uid not in winners)
    return losers


def _find_winners(
    name: str,
    members: Sequence[str],
    memberships: Mapping[str, Membership],
    sticky: Collection[str],
    taken: Collection[str],
    score: Callable[[str], int],
    scored: bool,
    seed: str,
) -> Sequence[str]:
    if stuck := [uid for uid in members if uid in sticky]:
        return stuck
    if name in taken:
        return []
    members = _drop_outscored(members, memberships, score, scored)
    if len(members) < 2:
        return members
    if insisting := [uid for uid in members if memberships[uid].insists]:
        return insisting[:1]
    left = roll(seed, "group", name) * sum(memberships[uid].weight for uid in members)
    for uid in members:
        left -= memberships[uid].weight
        if left < 0:
            return [uid]
    return members[:1]


def _drop_outscored(
    members: Sequence[str], memberships: Mapping[str, Membership], score: Callable[[str], int], scored: bool
) -> Sequence[str]:
    """The members without those that keep score and were found less often than the best."""
    keeps = {uid: scored if memberships[uid].scored is None else memberships[uid].scored for uid in members}
    if not any(keeps.values()):
        return members
    scores = {uid: score(uid) for uid in members}
    best = max(scores.values())
    return [uid for uid in members if not keeps[uid] or scores[uid] == best]
