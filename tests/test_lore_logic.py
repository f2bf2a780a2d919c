"""Which keys let an entry fire: against a naive reading of the rules, over all that hypothesis can think of."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from characters.lore.chat import Chat, Message
from characters.lore.reason import Reason
from tests.lore import chat, entry, fires, reasons, run

LOGICS = ("and_any", "not_all", "not_any", "and_all")
WORDS = ("ash", "Ash", "ashes", "elm", "elms", "yew")


@dataclass(frozen=True)
class Case:
    """An entry and the messages that it reads, oldest first."""

    keys: Sequence[str]
    secondary: Sequence[str]
    logic: str
    selective: bool
    whole: bool
    case_sensitive: bool
    depth: int
    messages: Sequence[str]


several = st.lists(st.sampled_from(WORDS), max_size=3)
cases = st.builds(
    Case,
    several,
    several,
    st.sampled_from(LOGICS),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 4),
    st.lists(st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join), min_size=1, max_size=4),
)


def expect(case: Case) -> bool:
    """The rules, read word by word: no index, no memory, no cleverness."""
    read = case.messages[len(case.messages) - case.depth :] if case.depth < len(case.messages) else case.messages

    def found(key: str) -> bool:
        for message in read:
            text = message if case.case_sensitive else message.lower()
            wanted = key if case.case_sensitive else key.lower()
            if (wanted in text.split()) if case.whole else (wanted in text):
                return True
        return False

    if not any(found(key) for key in case.keys):
        return False
    if not (case.selective and case.secondary):
        return True
    hits = [found(key) for key in case.secondary]
    return {"and_any": any(hits), "and_all": all(hits), "not_any": not any(hits), "not_all": not all(hits)}[case.logic]


@given(cases)
def test_entry_fires_as_a_naive_reading_says(case: Case) -> None:
    made = entry(
        *case.keys,
        content="lore",
        secondary_keys=list(case.secondary),
        selective=case.selective,
        case_sensitive=case.case_sensitive,
        extensions={
            "selectiveLogic": LOGICS.index(case.logic),
            "match_whole_words": case.whole,
            "scan_depth": case.depth,
        },
    )
    assert fires(made, chat(*case.messages)) is expect(case)


@pytest.mark.parametrize(("logic", "red", "hot"), list(product(range(4), (False, True), (False, True))))
def test_secondary_logic(logic: int, red: bool, hot: bool) -> None:
    """SillyTavern's numbers: 0 any, 1 not all, 2 none, 3 all."""
    made = entry("dragon", selective=True, secondary_keys=["red", "hot"], extensions={"selectiveLogic": logic})
    text = f"dragon {'red' if red else ''} {'hot' if hot else ''}"
    assert fires(made, text) is (red or hot, not (red and hot), not (red or hot), red and hot)[logic]


@pytest.mark.parametrize("logic", ["AND_ANY", "and_any"])
def test_secondary_logic_by_name(logic: str) -> None:
    made = entry("dragon", selective=True, secondary_keys=["red"], key_logic=logic)
    assert fires(made, "red dragon")
    assert not fires(made, "dragon")


@pytest.mark.parametrize("logic", range(4))
def test_secondary_key_that_cannot_be_searched_for_is_no_answer(logic: int) -> None:
    made = entry("dragon", selective=True, secondary_keys=["/(?=a)a/"], extensions={"selectiveLogic": logic})
    assert not fires(made, "dragon a")


def test_secondary_keys_may_stand_in_other_messages_than_keys() -> None:
    made = entry("dragon", selective=True, secondary_keys=["red"])
    assert fires(made, chat("a dragon", "it is red"))


def test_secondary_keys_count_only_where_the_entry_is_selective() -> None:
    assert fires(entry("dragon", secondary_keys=["red"]), "dragon")


def test_reason_tells_what_was_missing() -> None:
    told = run(
        [
            entry("dragon", name="secondary", selective=True, secondary_keys=["red"]),
            entry("wyvern", name="not found"),
            entry(name="no keys", content="x"),
            entry("dragon", name="disabled", enabled=False),
            entry("dragon", name="empty", content=" "),
        ],
        "dragon",
    )
    assert reasons(told) == {
        "secondary": Reason.SECONDARY,
        "not found": Reason.NOT_FOUND,
        "no keys": Reason.NO_KEYS,
        "disabled": Reason.DISABLED,
        "empty": Reason.EMPTY,
    }


@pytest.mark.parametrize(("depth", "fired"), [(0, False), (1, False), (2, True), (9, True)])
def test_scan_depth_counts_messages_from_the_newest(depth: int, fired: bool) -> None:
    assert fires(entry("dragon"), chat("a dragon", "where?"), scan_depth=depth) is fired


def test_scan_depth_of_the_entry_beats_the_books() -> None:
    said = chat("a dragon", "where?", "there")
    assert not fires(entry("dragon"), said, scan_depth=2)
    assert fires(entry("dragon", extensions={"scan_depth": 3}), said, scan_depth=2)
    assert fires(entry("dragon", content="@@scan_depth 3\nlore"), said, scan_depth=2)


def test_scan_depth_is_two_where_nobody_says() -> None:
    assert fires(entry("dragon"), chat("x", "dragon", "y"))
    assert not fires(entry("dragon"), chat("dragon", "x", "y"))


def test_sources_are_read_where_the_entry_asks() -> None:
    known = chat("hello", sources={"persona_description": "rides a dragon", "scenario": "a wyvern"})
    assert fires(entry("dragon", extensions={"match_persona_description": True}), known)
    assert fires(entry("wyvern", extensions={"matchScenario": True}), known)
    assert not fires(entry("dragon", extensions={"match_scenario": True}), known)


def test_name_of_who_speaks_is_read() -> None:
    said = Chat([Message("assistant", "Hm.", "Odo"), Message("user", "Hm?", "Mira")])
    assert fires(entry("Odo"), said)


@pytest.mark.parametrize(
    ("condition", "known", "fired"),
    [
        ({"names": ["Odo"]}, {"character": "Odo"}, True),
        ({"names": ["Odo"]}, {"character": "Lyra"}, False),
        ({"names": ["Odo"], "isExclude": True}, {"character": "Odo"}, False),
        ({"names": ["Odo"], "isExclude": True}, {"character": "Lyra"}, True),
        ({"tags": ["elf"]}, {"tags": frozenset({"elf", "old"})}, True),
        ({"tags": ["elf"]}, {}, False),
        ({"tags": ["elf"], "isExclude": True}, {"tags": frozenset({"elf"})}, False),
        ({"names": [], "tags": []}, {}, True),
    ],
)
def test_character_filter(condition: dict[str, object], known: dict[str, object], fired: bool) -> None:
    assert fires(entry("x", extensions={"character_filter": condition}), chat("x", **known)) is fired


def test_triggers_name_the_kinds_of_replies() -> None:
    made = entry("x", extensions={"triggers": ["continue"]})
    assert fires(made, chat("x", trigger="continue"))
    assert not fires(made, chat("x"))
