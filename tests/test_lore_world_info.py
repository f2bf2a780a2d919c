"""SillyTavern's world info: whole again from V3 and back, edited there or not, and doing there what it does here."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from characters.formats.lorebooks import LorebookFormat, build_lorebook_file, write_sillytavern, write_v3
from characters.formats.world_info import FIELDS, OPTIONS
from characters.lorebook import parse_lorebook
from tests.lore import entry, extras, names, rules, run, survives, through_json, v3_books, world

Fields = dict[str, Any]

lore_options = st.fixed_dictionaries(
    {},
    optional={
        "position": st.integers(-1, 9),
        "selectiveLogic": st.integers(0, 3),
        "exclude_recursion": st.booleans(),
        "excludeRecursion": st.booleans(),
        "delay_until_recursion": st.booleans() | st.integers(0, 3),
        "probability": st.integers(0, 100),
        "useProbability": st.booleans(),
        "depth": st.integers(0, 9),
        "role": st.none() | st.integers(0, 2),
        "case_sensitive": st.none() | st.booleans(),
        "match_whole_words": st.none() | st.booleans(),
        "group": st.text(max_size=3),
        "sticky": st.none() | st.integers(0, 3),
        "display_index": st.integers(0, 9),
        "opencharacter": st.just({"freeze": True}) | st.text(max_size=3),
    },
)
keys = st.sampled_from(["ash", "/elm/i", "c++", "a/b", "drag(on|net)", "/x/y/", "Yew", "/a b/"])
lore_books = st.builds(
    lambda book, made: {**book, "entries": [{**one, **mine} for one, mine in zip(book["entries"], made, strict=False)]},
    v3_books,
    st.lists(
        st.fixed_dictionaries(
            {"keys": st.lists(keys, max_size=3), "extensions": lore_options},
            optional={"secondary_keys": st.lists(keys, max_size=2), "id": st.integers(-1, 3) | st.just("x")},
        ),
        max_size=4,
    ),
)


@given(lore_books)
def test_book_comes_back_from_sillytavern(value: Fields) -> None:
    """All that it said, and all that it does."""
    book, _ = parse_lorebook(value)
    file = through_json(write_sillytavern(book))
    back = build_lorebook_file(file)
    assert back.format is LorebookFormat.SILLYTAVERN
    assert survives(book.model_dump(exclude_unset=True), back.book.model_dump())
    assert rules(back.book) == rules(book)
    assert survives(file, through_json(write_sillytavern(back.book)))


world_entries = st.builds(
    dict.__or__,
    extras,
    st.fixed_dictionaries(
        {"key": st.lists(st.text(max_size=4), max_size=3), "content": st.text(max_size=8)},
        optional={
            "uid": st.integers(0, 99),
            "keysecondary": st.lists(st.text(max_size=4), max_size=2),
            "comment": st.text(max_size=4),
            "constant": st.booleans(),
            "selective": st.booleans(),
            "order": st.integers(0, 200),
            "position": st.integers(0, 7),
            "disable": st.booleans(),
            "extensions": extras,
            "displayIndex": st.integers(0, 9),
            **{
                name: st.sampled_from([default, True, False, 0, 1, 50, "g", [], ["normal"]])
                for name, (_, default) in OPTIONS.items()
            },
        },
    ),
)
worlds = st.builds(
    lambda extra, made: extra | {"entries": {str(place): {"uid": place, **one} for place, one in enumerate(made)}},
    extras,
    st.lists(world_entries, max_size=4).map(lambda made: [{**one, "uid": place} for place, one in enumerate(made)]),
)


@given(worlds)
def test_world_info_comes_back_from_v3(value: Fields) -> None:
    """Unknown fields, zero beside false, and all."""
    book = build_lorebook_file(value).book
    back, _ = parse_lorebook(through_json(write_v3(book))["data"])
    assert survives(value, through_json(write_sillytavern(back)))
    assert rules(back) == rules(book)


def test_world_info_of_old_has_what_a_new_entry_has() -> None:
    (made,) = build_lorebook_file(world(keysecondary=["elm"])).book.entries
    assert (made.id, made.keys, made.secondary_keys, made.selective) == (0, ["ash"], ["elm"], True)
    assert (made.enabled, made.position, made.insertion_order, made.extensions) == (True, "before_char", 100, {})


def test_world_info_written_has_every_field_that_sillytavern_reads() -> None:
    (written,) = write_sillytavern(parse_lorebook({"entries": [entry("ash")]})[0])["entries"].values()
    assert written.keys() >= FIELDS.keys() | OPTIONS.keys() | {"uid", "position", "disable", "displayIndex"}
    assert (written["comment"], written["position"], written["selective"]) == ("", 1, False)


def test_what_was_edited_in_sillytavern_stays_edited() -> None:
    made = entry("drag(on|net)", use_regex=True, name="Dragon", priority=3, extensions={"probability": 250, "depth": 9})
    file = write_sillytavern(parse_lorebook({"entries": [made]})[0])
    (written,) = file["entries"].values()
    assert written["key"] == ["/drag(on|net)/i"]
    written |= {"key": ["/wyvern/i"], "comment": "Wyvern", "probability": 40, "depth": 4}
    (back,) = build_lorebook_file(through_json(file)).book.entries
    assert (back.keys, back.comment, back.priority) == (["/wyvern/i"], "Wyvern", 3)
    assert (back.extensions["probability"], back.extensions["depth"]) == (40, 4)


def test_v3_expressions_do_in_sillytavern_what_they_did() -> None:
    strict = entry("a/b|dragon", use_regex=True, constant=True, selective=True, secondary_keys=["x"])
    (written,) = write_sillytavern(parse_lorebook({"entries": [strict]})[0])["entries"].values()
    assert written["key"] == [r"/a\/b|dragon/i"]
    assert (written["constant"], written["selective"], written["keysecondary"]) == (False, False, [])
    literal = entry("/a.b/", use_regex=False)
    (written,) = write_sillytavern(parse_lorebook({"entries": [literal]})[0])["entries"].values()
    assert names(run([{"keys": written["key"], "content": "x", "name": "n"}], "say /a.b/")) == ["n"]
    assert names(run([{"keys": written["key"], "content": "x", "name": "n"}], "say a.b /axb/")) == []
