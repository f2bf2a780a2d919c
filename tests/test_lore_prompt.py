"""Lore in the prompt: what costs the prefix nothing by default, and what stands where the card said on request."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from characters.lore.activation import Fired
from characters.lore.chat import Chat
from models.lore import LoreBlock, beginning, build_lore_blocks, frozen_text, outlets
from tests.lore import Entry, chat, entry, run

places: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.fixed_dictionaries({"position": st.integers(0, 7), "depth": st.integers(0, 5), "role": st.integers(0, 2)}),
    st.just({"opencharacter": {"freeze": True}}),
    st.just({}),
)
entries = st.builds(
    lambda key, constant, content, extensions, number: entry(
        key, content=f"{content}lore {number}", constant=constant, extensions=extensions
    ),
    st.sampled_from(["ash", "elm", "yew"]),
    st.booleans(),
    st.sampled_from(["", "", "@@position scenario\n", "@@position before_desc\n", "{{random:a,b}} "]),
    places,
    st.integers(0, 999),
)
said = st.lists(st.sampled_from(["ash", "elm", "yew", "oak"]), min_size=1, max_size=5)


def lore_text(made: list[LoreBlock], part: str) -> str:
    return "\n".join(block.text for block in made if block.part == part and not block.frozen)


def told(made: list[Entry], at: Chat | str) -> list[Fired]:
    return list(run(made, at).fired)


@given(st.lists(entries, max_size=8), said, said)
def test_head_is_the_same_on_every_turn(made: list[Entry], one: list[str], other: list[str]) -> None:
    heads = {lore_text(build_lore_blocks(told(made, chat(*turn))), "head") for turn in (one, other)}
    assert len(heads) == 1


@given(st.lists(entries, max_size=8), said, st.sampled_from(["cache", "compat"]))
def test_every_entry_stands_in_one_place(made: list[Entry], turn: list[str], layout: Any) -> None:
    fired = told(made, chat(*turn))
    blocks = build_lore_blocks(fired, layout)
    held = [uid for block in blocks for uid in block.entries]
    out = [one.rule.uid for one in fired if one.placement.position == "outlet"]
    begun = [one for one in fired if one.placement.begins_reply and not one.rule.freezes]
    assert beginning(fired) == "\n".join(one.content for one in begun)
    assert sorted([*held, *out, *(one.rule.uid for one in begun)]) == sorted(one.rule.uid for one in fired)
    for block in blocks:
        contents = {one.rule.uid: one.content for one in fired}
        assert block.text == "\n".join(contents[uid] for uid in block.entries)


@given(st.lists(entries, max_size=8), said)
def test_literal_layout_puts_each_where_it_says(made: list[Entry], turn: list[str]) -> None:
    fired = told(made, chat(*turn))
    literal = {uid: block for block in build_lore_blocks(fired, "compat") for uid in block.entries}
    for one in fired:
        if one.rule.uid in literal and not one.rule.freezes:
            block = literal[one.rule.uid]
            assert block.placement.position == one.placement.position
            assert block.part == (
                "history" if one.placement.position in ("depth", "note_top", "note_bottom") else "head"
            )


def blocks(*made: Entry, layout: Any = "cache") -> list[LoreBlock]:
    return build_lore_blocks(told(list(made), "ash"), layout)


CONSTANT = entry(content="always", constant=True, position="before_char")
LATER = entry(content="always, too", constant=True)
FOUND = entry("ash", content="ash", position="before_char")
DEEP = entry("ash", content="deep", extensions={"position": 4, "depth": 3})
SHALLOW = entry("ash", content="shallow", extensions={"position": 4, "depth": 0, "role": 1})
NOTE = entry("ash", content="note", extensions={"position": 3})


def test_default_layout_keeps_what_changes_out_of_the_head() -> None:
    made = blocks(SHALLOW, DEEP, FOUND, LATER, CONSTANT, NOTE)
    assert lore_text(made, "head") == "always\nalways, too"
    assert lore_text(made, "tail") == "ash\nnote\ndeep\nshallow"
    assert lore_text(made, "history") == ""


def test_literal_layout_is_literal() -> None:
    made = blocks(SHALLOW, DEEP, FOUND, LATER, CONSTANT, NOTE, layout="compat")
    assert lore_text(made, "head") == "ash\nalways\nalways, too"
    assert [(block.name, block.text) for block in made if block.part == "history"] == [
        ("lore, note_bottom", "note"),
        ("lore, system at depth 3", "deep"),
        ("lore, user at depth 0", "shallow"),
    ]
    assert lore_text(made, "tail") == ""


@pytest.mark.parametrize("layout", ["cache", "compat"])
def test_frozen_lore_is_written_into_the_history(layout: Any) -> None:
    frozen = entry("ash", content="frozen", extensions={"opencharacter": {"freeze": True}})
    made = blocks(frozen, FOUND, layout=layout)
    assert frozen_text(made) == "frozen"
    assert [block.part for block in made if block.frozen] == ["history"]
    assert lore_text(made, "history") == ""


def test_outlets_are_by_name() -> None:
    made = [
        entry("ash", content=str(n), extensions={"position": 7, "outlet_name": name}) for n, name in enumerate("aab")
    ]
    fired = told(made, "ash")
    assert outlets(fired) == {"a": "0\n1", "b": "2"}
    assert build_lore_blocks(fired) == []


@pytest.mark.parametrize("layout", ["cache", "compat"])
@pytest.mark.parametrize(
    "made",
    [
        {"content": "@@depth 0\n@@role assistant\nWell,"},
        {"content": "@@end\n@@role assistant\nWell,"},
        {"content": "Well,", "extensions": {"position": 4, "depth": 0, "role": 2}},
    ],
)
def test_assistants_lore_at_the_end_begins_the_reply(made: Entry, layout: Any) -> None:
    fired = told([entry("ash", **made), entry("ash", **made), FOUND], "ash")
    assert beginning(fired) == "Well,\nWell,"
    assert [block.text for block in build_lore_blocks(fired, layout)] == ["ash"]


def test_entries_of_a_block_keep_their_order() -> None:
    made = [entry("ash", content=str(order), insertion_order=order) for order in (3, 1, 2)]
    assert [block.text for block in blocks(*made)] == ["1\n2\n3"]
