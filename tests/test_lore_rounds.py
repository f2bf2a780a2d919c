"""Recursion, inclusion groups and chance: what is told, round by round, and that it ends the same way each time."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from characters.lore.reason import Reason
from characters.lore.rule import Defaults
from characters.lore.timing import LoreState, Span
from tests.lore import Entry, chat, entry, names, reasons, run, words

CHAIN = [entry("ash", content="an elm", name="a"), entry("elm", content="a yew", name="b"), entry("yew", name="c")]


def option(made: Entry, **extensions: Any) -> Entry:
    return {**made, "extensions": {**made.get("extensions", {}), **extensions}}


def test_recursion_finds_keys_in_what_was_told() -> None:
    assert names(run(CHAIN, "ash", recursive_scanning=True)) == ["a", "b", "c"]


@pytest.mark.parametrize("said", [False, None])
def test_recursion_is_off_unless_the_book_says(said: bool | None) -> None:
    assert names(run(CHAIN, "ash", recursive_scanning=said)) == ["a"]


def test_recursion_reads_whatever_the_scan_depth_is() -> None:
    made = [entry("ash", content="an elm", name="a", constant=True), option(CHAIN[1], scan_depth=0)]
    assert names(run(made, "x", recursive_scanning=True)) == ["a", "b"]


def test_excluded_entry_is_not_found_by_recursion() -> None:
    made = [CHAIN[0], option(CHAIN[1], exclude_recursion=True)]
    assert names(run(made, "ash", recursive_scanning=True)) == ["a"]
    assert names(run(made, "elm", recursive_scanning=True)) == ["b"]


def test_preventing_entry_finds_no_others() -> None:
    assert names(run([option(CHAIN[0], prevent_recursion=True), CHAIN[1]], "ash", recursive_scanning=True)) == ["a"]


@pytest.mark.parametrize("until", [True, 1])
def test_delayed_entry_waits_for_recursion(until: object) -> None:
    made = [CHAIN[0], option(entry("ash", name="late"), delay_until_recursion=until)]
    assert names(run(made, "ash", recursive_scanning=True)) == ["a", "late"]
    assert reasons(run(made[1:], "ash", recursive_scanning=True)) == {"late": Reason.RECURSION}


def test_delayed_entries_come_level_by_level() -> None:
    first = option(entry("ash", name="first", content="1"), delay_until_recursion=1)
    second = option(entry("ash", name="second", content="2"), delay_until_recursion=2)
    unheard = option(entry("yew", name="unheard"), delay_until_recursion=3)
    told = run([CHAIN[0], second, first, unheard], "ash", recursive_scanning=True)
    assert names(told) == ["a", "second", "first"]
    assert reasons(told) == {"unheard": Reason.NOT_FOUND}


def test_recursion_stops_after_its_rounds() -> None:
    defaults = Defaults(max_rounds=1)
    assert names(run(CHAIN, "ash", recursive_scanning=True, defaults=defaults)) == ["a", "b"]


def test_hidden_keys_find_others_and_remarks_do_not() -> None:
    made = [entry("ash", content="{{hidden_key:elm}}x{{// yew}}", name="a"), *CHAIN[1:]]
    assert names(run(made, "ash", recursive_scanning=True)) == ["a", "b", "c"]
    remark = [entry("ash", content="x{{// elm}}{{comment:elm}}", name="a"), CHAIN[1]]
    assert names(run(remark, "ash", recursive_scanning=True)) == ["a"]


trees = st.lists(st.sampled_from(["ash", "elm", "yew", "oak"]), max_size=3, unique=True)
entries = st.builds(
    lambda keys, content, extensions, constant: entry(
        *keys, content=" ".join(content) or "x", extensions=extensions, constant=constant
    ),
    trees,
    trees,
    st.fixed_dictionaries(
        {},
        optional={
            "exclude_recursion": st.booleans(),
            "prevent_recursion": st.booleans(),
            "delay_until_recursion": st.one_of(st.booleans(), st.integers(0, 3)),
            "probability": st.integers(0, 100),
            "group": st.sampled_from(["g", "h", "g, h"]),
            "group_override": st.booleans(),
            "group_weight": st.integers(-1, 200),
            "use_group_scoring": st.booleans(),
        },
    ),
    st.booleans(),
)


@given(st.lists(entries, max_size=12), trees, st.text(max_size=3), st.booleans())
def test_turn_ends_and_can_be_replayed(made: list[Entry], said: list[str], seed: str, recursive: bool) -> None:
    """With no limit on its rounds. Every entry is accounted for once, and the same seed gives the same turn."""
    endless = Defaults(recursive=recursive, max_rounds=10**9)

    def told() -> dict[str, Any]:
        return run(made, " ".join(said), seed=seed, defaults=endless).to_json()

    first = told()
    assert first == told()
    accounted = [one["entry"] for one in first["fired"] + first["not_fired"]]
    assert sorted(accounted) == sorted(f"book/#{place}" for place in range(len(made)))


@given(st.lists(entries, max_size=12), trees, st.text(max_size=3), st.booleans())
def test_one_of_a_group_is_told(made: list[Entry], said: list[str], seed: str, recursive: bool) -> None:
    fired = run(made, " ".join(said), seed=seed, recursive_scanning=recursive).fired
    assert max(Counter(name for one in fired for name in one.rule.membership.names).values(), default=0) <= 1


def group(name: str, **fields: Any) -> Entry:
    return option(entry("ash", name=name), group="g", **fields)


def test_group_takes_one_by_weight() -> None:
    made = [group("rare", group_weight=1), group("often", group_weight=9)]
    told = Counter(names(run(made, "ash", seed=str(seed)))[0] for seed in range(1000))
    assert 60 < told["rare"] < 140


def test_group_takes_the_first_that_insists() -> None:
    low = {**group("low", group_override=True), "insertion_order": 1}
    high = {**group("high", group_override=True), "insertion_order": 2}
    for seed in range(20):
        told = run([low, high, group("x", group_weight=1000)], "ash", seed=str(seed))
        assert names(told) == ["high"]
        assert reasons(told) == {"low": Reason.GROUP, "x": Reason.GROUP}


def test_group_keeps_score() -> None:
    two = option(entry("ash", "elm", name="two"), group="g", use_group_scoring=True)
    for seed in range(20):
        assert names(run([group("one", use_group_scoring=True), two], "ash elm", seed=str(seed))) == ["two"]


def test_group_of_an_entry_told_before_is_taken() -> None:
    late = option(entry("elm", name="late"), group="g")
    made = [option(CHAIN[0], group="g"), late]
    assert reasons(run(made, "ash", recursive_scanning=True)) == {"late": Reason.GROUP}


def test_sticky_entry_wins_its_group() -> None:
    made = [group("x", group_override=True), {**group("stuck", sticky=9), "id": 7}]
    state = LoreState(sticky={"book/7": Span(1, 99)})
    assert names(run(made, chat("ash", "ash", "ash"), state=state)) == ["stuck"]


@pytest.mark.parametrize(
    "chance",
    [
        {"extensions": {"probability": 30}},
        {"extensions": {"probability": "30", "useProbability": True}},
        {"extensions": {"risu_activationPercent": 30}},
        {"content": "@@probability 30\nlore"},
    ],
)
def test_chance_is_as_often_as_it_says(chance: dict[str, Any]) -> None:
    made = {**entry("ash"), **chance}
    fired = sum(bool(run([made], "ash", seed=str(seed)).fired) for seed in range(1000))
    assert 250 < fired < 350


@pytest.mark.parametrize(("percent", "fired"), [(0, 0), (100, 50)])
def test_chance_at_its_ends_is_certain(percent: int, fired: int) -> None:
    made = option(entry("ash"), probability=percent)
    assert sum(len(run([made], "ash", seed=str(seed)).fired) for seed in range(50)) == fired


def test_chance_that_is_switched_off_is_none() -> None:
    assert names(run([option(entry("ash", name="a"), probability=0, useProbability=False)], "ash")) == ["a"]


def test_chance_of_an_entry_does_not_hang_on_others() -> None:
    made = {**option(entry("ash", name="a"), probability=50), "id": 1}
    alone = [bool(run([made], "ash", seed=str(seed)).fired) for seed in range(50)]
    beside = ["a" in names(run([entry("ash"), made], "ash", seed=str(seed))) for seed in range(50)]
    assert alone == beside


def test_chance_tells_why() -> None:
    assert reasons(run([option(entry("ash", name="a"), probability=0)], "ash")) == {"a": Reason.PROBABILITY}


def test_macros_are_replaced_in_what_is_told() -> None:
    told = run([entry("ash", content="{{char}} knows")], "ash", expand=lambda text: text.replace("{{char}}", "Odo"))
    assert [(one.content, one.tokens) for one in told.fired] == [("Odo knows", words("Odo knows"))]


def test_entry_that_says_nothing_once_macros_are_replaced_is_not_told() -> None:
    told = run([entry("ash", content="{{x}}", name="a")], "ash", expand=lambda text: text.replace("{{x}}", " "))
    assert reasons(told) == {"a": Reason.EMPTY}
