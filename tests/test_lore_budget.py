"""The token budget: never exceeded, the lowest priority first, and what stands in the head as if it were alone."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from characters.lore.activation import activate
from characters.lore.reason import Reason
from characters.lore.rule import Defaults
from characters.lore.rulebook import build_rulebook
from characters.lorebook import parse_lorebook
from tests.lore import Entry, chat, entry, names, reasons, run, words


def sized(name: str, tokens: int, **fields: Any) -> Entry:
    return entry("ash", content="w " * tokens, name=name, **fields)


entries = st.builds(
    lambda tokens, order, priority, constant, content, ignored: entry(
        "ash",
        content=content + "w " * tokens,
        insertion_order=order,
        priority=priority,
        constant=constant,
        extensions={"ignore_budget": ignored},
    ),
    st.integers(1, 30),
    st.integers(0, 5),
    st.one_of(st.none(), st.integers(-5, 5)),
    st.booleans(),
    st.sampled_from(["", "", "@@ignore_on_max_context\n", "@@priority 3\n", "@@depth 2\n"]),
    st.sampled_from([False, False, False, True]),
)


@given(st.lists(entries, max_size=15), st.integers(1, 100), st.one_of(st.none(), st.integers(0, 100)))
def test_budget_is_never_exceeded(made: list[Entry], book: int, everywhere: int | None) -> None:
    told = run(made, "ash", token_budget=book, defaults=Defaults(token_budget=everywhere))
    spent = sum(words(one.content) for one in told.fired if not one.rule.ignores_budget)
    assert spent <= min(book, book if everywhere is None else everywhere)
    assert {one.reason for one in told.not_fired} <= {Reason.BUDGET}


@given(st.lists(entries, max_size=15), st.integers(1, 100))
def test_what_is_dropped_ranks_below_what_is_kept(made: list[Entry], budget: int) -> None:
    """Among the entries of the head, and among all others."""
    told = run(made, "ash", token_budget=budget)
    for permanent in (True, False):
        kept = [one.rule for one in told.fired if one.rule.permanent is permanent and not one.rule.ignores_budget]
        dropped = [one.rule for one in told.not_fired if one.rule.permanent is permanent]
        ranks = [
            sorted((not rule.expendable, rule.priority, rule.order) for rule in rules) for rules in (kept, dropped)
        ]
        assert not all(ranks) or ranks[0][0] >= ranks[1][-1]


@given(st.lists(entries, max_size=15), st.integers(1, 100))
def test_head_is_the_same_whatever_is_said(made: list[Entry], budget: int) -> None:
    def head(text: str) -> list[str]:
        return [one.content for one in run(made, text, token_budget=budget).fired if one.part == "head"]

    assert head("ash") == head("nothing")


@given(st.lists(entries, max_size=15))
def test_prompt_is_in_insertion_order(made: list[Entry]) -> None:
    told = run(made, "ash").fired
    places = {one.rule.uid: place for place, one in enumerate(told)}
    assert len(places) == len(made)
    assert [one.rule.order for one in told] == sorted(one.rule.order for one in told)


def test_lowest_priority_is_dropped_first() -> None:
    made = [sized("low", 10, priority=1), sized("high", 10, priority=3), sized("mid", 10, priority=2)]
    told = run(made, "ash", token_budget=20)
    assert set(names(told)) == {"high", "mid"}
    assert reasons(told) == {"low": Reason.BUDGET}


def test_insertion_order_stands_in_for_a_priority() -> None:
    made = [sized("low", 10, insertion_order=1), sized("high", 10, insertion_order=2)]
    assert names(run(made, "ash", token_budget=10)) == ["high"]


def test_expendable_entry_is_dropped_before_all_others() -> None:
    first = entry("ash", content="@@ignore_on_max_context\n" + "w " * 10, name="first", priority=9)
    assert names(run([first, sized("other", 10)], "ash", token_budget=10)) == ["other"]


def test_entry_that_ignores_the_budget_costs_the_others_nothing() -> None:
    made = [sized("free", 50, extensions={"ignoreBudget": True}), sized("paid", 10)]
    assert set(names(run(made, "ash", token_budget=10))) == {"free", "paid"}


@pytest.mark.parametrize("budget", [0, -1])
def test_budget_of_nothing_is_none(budget: int) -> None:
    assert names(run([sized("a", 10)], "ash", token_budget=budget)) == ["a"]


def test_each_book_has_its_own_budget() -> None:
    books = [
        build_rulebook(
            parse_lorebook({"entries": [sized("a", 10), sized("b", 10)], "token_budget": budget})[0], str(budget)
        )
        for budget in (10, 20)
    ]
    told = activate(books, chat("ash"), seed="", count_tokens=words)
    assert [one.rule.book for one in told.fired] == ["10", "20", "20"]


def test_thousand_entries_take_less_than_a_quarter_of_a_second() -> None:
    """Of processor time. Half of them fire; the rest are searched for in vain in each of ten rounds."""
    made = [entry(f"place{number}", f"name {number}", content=f"lore of place{number + 1}") for number in range(1000)]
    book = build_rulebook(parse_lorebook({"entries": made, "recursive_scanning": True, "token_budget": 400})[0])
    said = chat("words " * 300, " ".join(f"place{number}" for number in range(0, 1000, 2)))
    took = []
    for _ in range(3):
        began = time.process_time()
        told = activate([book], said, seed="", count_tokens=words)
        took.append(time.process_time() - began)
    assert len(told.fired) + len(told.not_fired) == 1000
    assert min(took) < 0.25
