"""Lorebooks as files hold them: nothing lost, what is wrong coerced and told."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from characters.lore import rulebook
from characters.lorebook import Lorebook, LorebookError, parse_lorebook
from tests.lore import V3_ENTRY, V3_OPTIONAL, entry, json_values, names, run, v3_books, warnings


@given(v3_books)
def test_book_that_is_right_is_kept_as_it_is(value: dict[str, Any]) -> None:
    book, told = parse_lorebook(value)
    assert told == []
    assert book.to_v3() == value
    assert parse_lorebook(book.to_v3())[0] == book


def read(value: Any) -> Lorebook | None:
    with suppress(LorebookError):
        return parse_lorebook(value)[0]
    return None


@given(json_values)
def test_what_json_says_is_a_clear_error_or_a_book(value: Any) -> None:
    for whole in (value, {"entries": value}, {"entries": [value]}, {"entries": [{"keys": value, "extensions": value}]}):
        if book := read(whole):
            assert parse_lorebook(book.to_v3())[0].to_v3() == book.to_v3()


@given(st.dictionaries(st.sampled_from([*V3_ENTRY, *V3_OPTIONAL, "sticky", "group", "probability"]), json_values))
def test_entry_with_anything_in_its_fields_runs(fields: dict[str, Any]) -> None:
    run([fields, {**entry("ash"), "extensions": fields}], "ash")


@pytest.mark.parametrize("value", [None, [], "book", 3, {"entries": 3}])
def test_error_says_what_was_expected(value: Any) -> None:
    with pytest.raises(LorebookError, match="lorebook") as caught:
        parse_lorebook(value)
    assert type(value).__name__ in str(caught.value) or "int" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        ("keys", "ash, elm,", ["ash", "elm"]),
        ("keys", None, []),
        ("keys", ["ash", 7, None], ["ash", "7"]),
        ("secondary_keys", "ash", ["ash"]),
        ("content", None, ""),
        ("content", 7, "7"),
        ("content", ["one", "two"], "one\ntwo"),
        ("extensions", None, {}),
        ("enabled", None, True),
        ("enabled", "false", False),
        ("enabled", 1, True),
        ("insertion_order", "12", 12),
        ("insertion_order", "1.5", 1.5),
        ("insertion_order", None, 100),
        ("insertion_order", "x", 100),
        ("priority", "3", 3),
        ("constant", "yes", True),
        ("use_regex", 0, False),
        ("case_sensitive", {}, None),
        ("id", [], None),
        ("name", 7, "7"),
        ("position", "nowhere", None),
    ],
)
def test_field_is_coerced_and_told(field: str, value: Any, read: Any) -> None:
    book, told = parse_lorebook({"entries": [{**entry("ash"), field: value}]})
    assert getattr(book.entries[0], field) == read
    assert (told == []) is (value is read)
    assert all(field in one and "entry 0" in one for one in told)


@pytest.mark.parametrize("field", ["secondary_keys", "priority", "name", "comment", "case_sensitive", "id", "position"])
def test_null_is_absence(field: str) -> None:
    assert parse_lorebook({"entries": [{**entry("ash"), field: None}]})[1] == []


def test_empty_php_object_is_no_warning() -> None:
    book, told = parse_lorebook({"extensions": [], "entries": [{"keys": ["a"], "content": "b", "extensions": []}]})
    assert (book.extensions, book.entries[0].extensions, told) == ({}, {}, [])


def test_book_fields_are_coerced_and_told() -> None:
    value = {"scan_depth": "4", "token_budget": True, "recursive_scanning": "true", "name": 3, "entries": []}
    book, told = parse_lorebook(value)
    assert (book.scan_depth, book.token_budget, book.recursive_scanning, book.name) == (4, None, True, "3")
    assert len(told) == 4


def test_same_warning_names_its_places_once() -> None:
    _, told = parse_lorebook({"entries": [{**entry("ash"), "enabled": "true"}] * 9})
    assert told == [
        "entry 0, entry 1, entry 2, entry 3, entry 4 and 4 more: `enabled` was a text, read as true or false"
    ]


def test_entries_in_an_object_are_read_as_a_list() -> None:
    book, told = parse_lorebook({"entries": {"7": entry("ash"), "x": 3}})
    assert [one.keys for one in book.entries] == [["ash"]]
    assert len(told) == 2


def test_sillytaverns_number_for_a_place_moves_to_extensions() -> None:
    book, told = parse_lorebook({"entries": [{**entry("ash"), "position": 4}]})
    assert (book.entries[0].position, book.entries[0].extensions, len(told)) == (None, {"position": 4}, 1)


@pytest.mark.parametrize(
    ("keys", "use_regex"), [(["ash"], False), (["/ash/i"], True), (["ash", "/elm/"], True), ([], False)]
)
def test_v3_is_told_of_expressions_that_were_never_declared(keys: list[str], use_regex: bool) -> None:
    book, _ = parse_lorebook({"entries": [entry(*keys)]})
    (written,) = book.to_v3()["entries"]
    assert written["use_regex"] is use_regex
    for text in ("ash", "ASH c++", "elm"):
        assert bool(run([written], text).fired) is bool(run([entry(*keys)], text).fired)


def test_v2_is_not_told_of_use_regex() -> None:
    book, _ = parse_lorebook({"entries": [{"keys": ["ash"]}]})
    assert book.to_v2()["entries"] == [
        {"keys": ["ash"], "content": "", "extensions": {}, "enabled": True, "insertion_order": 100}
    ]


def test_entries_beyond_the_limit_are_kept_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rulebook, "MAX_ENTRIES", 2)
    made = [entry("ash", name=str(number)) for number in range(3)]
    assert len(parse_lorebook({"entries": made})[0].entries) == 3
    assert names(run(made, "ash")) == ["0", "1"]
    assert any("first 2 entries" in one for one in warnings(*made))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"extensions": {"selectiveLogic": 9}}, "selectiveLogic"),
        ({"extensions": {"vectorized": True}}, "by meaning"),
        ({"extensions": {"sticky": "often"}}, "sticky"),
        ({"use_regex": True, "constant": True}, "V3 ignores `constant`"),
    ],
)
def test_what_cannot_be_carried_out_is_told(fields: dict[str, Any], told: str) -> None:
    assert any(told in one and "entry #0" in one for one in warnings({**entry("ash"), **fields}))


def test_entry_is_called_by_its_id_where_that_is_its_own() -> None:
    made = [{**entry("ash"), "id": number} for number in (5, 6, 6, "x")]
    assert [one.rule.uid for one in run(made, "ash").fired] == ["book/5", "book/#1", "book/#2", "book/x"]
