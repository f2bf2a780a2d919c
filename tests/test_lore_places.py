"""Decorators and places: what a line at the head of an entry does, and where each entry ends up."""

from typing import Any

import pytest

from characters.lore.activation import Fired
from characters.lore.placement import NUMBERED, Placement, Position
from characters.lore.reason import Reason
from tests.lore import Entry, chat, entry, fires, names, reasons, run, warnings


def decorated(*lines: str, **fields: Any) -> Entry:
    return entry("ash", content="\n".join([*lines, "lore"]), name="a", **fields)


def tell(made: Entry) -> Fired:
    (told,) = run([made], "ash").fired
    return told


def place(*lines: str, **fields: Any) -> Placement:
    return tell(decorated(*lines, **fields)).placement


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("lore", "lore"),
        ("\nlore\n", "\nlore\n"),
        ("@@depth 2\nlore", "lore"),
        ("\n@@depth 2\n\n@@role user\n\nlore\nmore\n", "lore\nmore"),
        ("@@depth 2\r\nlore", "lore"),
        ("@@no_such_thing\nlore", "lore"),
        ("@@ no name\nlore", "lore"),
        ("lore\n@@depth 2", "lore\n@@depth 2"),
    ],
)
def test_decorators_are_taken_off(content: str, told: str) -> None:
    assert tell(entry("ash", content=content)).content == told


def test_entry_of_decorators_alone_is_empty() -> None:
    assert reasons(run([entry("ash", content="@@depth 2", name="a")], "ash")) == {"a": Reason.EMPTY}


def test_first_of_two_decorators_counts() -> None:
    assert place("@@depth 2", "@@depth 3").depth == 2


def test_fallback_counts_where_the_decorator_is_unknown() -> None:
    assert place("@@made_up 1", "@@@also_made_up 1", "@@@depth 3", "@@@depth 4").depth == 3
    assert place("@@depth 2", "@@@role user").role == "system"
    assert place("@@depth two", "@@@role user").role == "user"


@pytest.mark.parametrize("line", ["@@depth x", "@@role dragon", "@@instruct_depth 3", "@@activate_only_every 0", "@@?"])
def test_decorator_that_is_ignored_is_told(line: str) -> None:
    assert any(repr(line) in warning for warning in warnings(decorated(line)))
    assert place(line) == Placement()


@pytest.mark.parametrize(
    ("line", "replies", "fired"),
    [
        ("@@activate_only_after 2", range(5), [2, 3, 4]),
        ("@@activate_only_every 2", range(5), [0, 2, 4]),
        ("@@activate_only_after 0", range(2), [0, 1]),
    ],
)
def test_replies_are_counted(line: str, replies: range, fired: list[int]) -> None:
    for constant in (False, True):
        made = decorated(line, constant=constant)
        assert [count for count in replies if fires(made, chat("ash", earlier_replies=count))] == fired


def test_activate_holds_in_any_case_but_disabled() -> None:
    assert fires(decorated("@@activate", "@@dont_activate", "@@activate_only_after 9"), "nothing")
    assert fires(decorated("@@activate", extensions={"probability": 0, "delay": 9}), "nothing")
    assert not fires(decorated("@@activate", enabled=False), "nothing")


def test_dont_activate_forbids() -> None:
    assert reasons(run([decorated("@@dont_activate", constant=True)], "ash")) == {"a": Reason.FORBIDDEN}


@pytest.mark.parametrize(("greeting", "fired"), [(None, True), (1, True), (0, False)])
def test_greeting_is_asked_for_where_it_is_known(greeting: int | None, fired: bool) -> None:
    assert fires(decorated("@@is_greeting 1"), chat("ash", greeting=greeting)) is fired


@pytest.mark.parametrize(("icon", "fired"), [(None, True), ("cat", True), ("dog", False)])
def test_user_icon_is_asked_for_where_it_is_known(icon: str | None, fired: bool) -> None:
    assert fires(decorated("@@is_user_icon cat"), chat("ash", user_icon=icon)) is fired


@pytest.mark.parametrize(
    ("line", "text", "reason"),
    [
        ("@@additional_keys elm, yew", "ash yew", None),
        ("@@additional_keys elm, yew", "ash", Reason.ADDITIONAL),
        ("@@exclude_keys elm, yew", "ash", None),
        ("@@exclude_keys elm, yew", "ash yew", Reason.EXCLUDED),
        ("@@exclude_keys_all elm, yew", "ash yew", None),
        ("@@exclude_keys_all elm, yew", "ash yew elm", Reason.EXCLUDED),
    ],
)
def test_decorators_of_keys(line: str, text: str, reason: Reason | None) -> None:
    assert reasons(run([decorated(line)], text)) == ({"a": reason} if reason else {})


def test_v3_expressions_take_additional_keys_for_more_of_them() -> None:
    made = decorated("@@additional_keys y.w, o.k", "@@exclude_keys ash", use_regex=True)
    assert fires(made, "yew")
    assert fires(made, "ash")


def test_words_are_matched_whole_or_in_part() -> None:
    assert not fires(decorated("@@match_full_word"), "ashes")
    assert fires(decorated("@@match_partial_word", extensions={"match_whole_words": True}), "ashes")


def test_recursion_is_turned_on_and_off() -> None:
    def told(first: str, second: str) -> list[str]:
        made = [entry("ash", content=first, name="a"), entry("elm", content=second, name="b")]
        return names(run(made, "ash", recursive_scanning=True))

    assert told("elm", "lore") == ["a", "b"]
    assert told("@@unrecursive\nelm", "lore") == ["a"]
    assert told("elm", "@@no_recursive_search\nlore") == ["a"]


def test_prompts_are_turned_off() -> None:
    told = run([decorated("@@disable_ui_prompt system_prompt")], "ash")
    assert told.disabled == {"system_prompt"}
    assert run([decorated("@@disable_ui_prompt system_prompt")], "x").disabled == frozenset()


@pytest.mark.parametrize(
    ("lines", "fields", "expected"),
    [
        ((), {}, Placement(Position.AFTER_CHAR)),
        ((), {"position": "before_char"}, Placement(Position.BEFORE_CHAR)),
        ((), {"position": "before_char", "extensions": {"position": 1}}, Placement(Position.AFTER_CHAR)),
        ((), {"position": 0}, Placement(Position.BEFORE_CHAR)),
        ((), {"extensions": {"position": 4}}, Placement(Position.DEPTH, 4)),
        ((), {"extensions": {"position": 4, "depth": 2, "role": 1}}, Placement(Position.DEPTH, 2, "user")),
        ((), {"extensions": {"position": 7, "outlet_name": "o"}}, Placement(Position.OUTLET, outlet="o")),
        ((), {"extensions": {"position": 99}}, Placement(Position.AFTER_CHAR)),
        (("@@depth 3", "@@role assistant"), {}, Placement(Position.DEPTH, 3, "assistant")),
        (("@@depth -1",), {}, Placement(Position.DEPTH, 0)),
        (("@@depth 3", "@@position scenario"), {}, Placement(Position.SCENARIO)),
        (("@@position before_desc",), {"extensions": {"position": 4}}, Placement(Position.BEFORE_DESC)),
        (("@@end",), {}, Placement(Position.DEPTH, 0)),
    ],
)
def test_place(lines: tuple[str, ...], fields: dict[str, Any], expected: Placement) -> None:
    assert place(*lines, **fields) == expected


def test_each_of_sillytaverns_numbers_is_a_place() -> None:
    told = [place(extensions={"position": number}).position for number in range(len(NUMBERED))]
    assert told == list(NUMBERED)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({}, "tail"),
        ({"constant": True}, "head"),
        ({"constant": True, "content": "@@activate\nlore"}, "head"),
        ({"constant": True, "content": "@@depth 3\nlore"}, "tail"),
        ({"constant": True, "content": "{{random:a,b}}"}, "tail"),
        ({"constant": True, "content": "{{char}}"}, "head"),
        ({"constant": True, "content": "@@activate_only_every 1\nlore"}, "tail"),
        ({"constant": True, "extensions": {"probability": 99.5}}, "tail"),
        ({"constant": True, "extensions": {"group": "g"}}, "tail"),
        ({"constant": True, "extensions": {"sticky": 2}}, "tail"),
        ({"constant": True, "extensions": {"opencharacter": {"freeze": True}}}, "history"),
        ({"extensions": {"opencharacter": {"freeze": True}}}, "history"),
    ],
)
def test_part_of_the_prompt(fields: dict[str, Any], part: str) -> None:
    assert tell({**entry("ash"), **fields}).part == part
