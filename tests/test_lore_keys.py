"""Keys: plain, whole words, case, and JavaScript's regular expressions in an engine that can't hang."""

import string
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from characters.lore import rulebook
from characters.lore.chat import Chat, Message
from characters.lore.key import MAX_BOOK_SIZE, Room
from characters.lore.reason import Reason
from tests.lore import chat, entry, fires, reasons, run, warnings

WHOLE = {"match_whole_words": True}


@pytest.mark.parametrize(
    ("key", "text", "found"),
    [
        ("dragon", "Dragons!", True),
        ("dragon", "drag on", False),
        ("Straße", "die STRASSE", True),
        ("caf\u00e9", "a cafe\u0301", True),
        ("  dragon  ", "the dragon", True),
        ("   ", "   ", False),
        ("", "anything", False),
    ],
)
def test_key_is_contained(key: str, text: str, found: bool) -> None:
    assert fires(entry(key), text) is found


@pytest.mark.parametrize(
    ("key", "text", "found"),
    [
        ("art", "start", False),
        ("art", "Art.", True),
        ("art", "an art-house", True),
        ("art", "art_house", False),
        ("c++", "in c++ we", True),
        ("c++", "abc++", False),
        ("dark elf", "dark elfish", True),
        ("мир", "мира", False),
        ("мир", "«мир»", True),
        ("猫", "黒猫です", True),
        ("고양이", "고양이가", True),
        ("o'neil", "Mr O'Neil's", True),
    ],
)
def test_whole_word_touches_no_other(key: str, text: str, found: bool) -> None:
    assert fires(entry(key, extensions=WHOLE), text) is found


@pytest.mark.parametrize("where", [{"case_sensitive": True}, {"extensions": {"case_sensitive": True}}])
def test_case_is_minded_where_the_entry_says_so(where: dict[str, Any]) -> None:
    assert fires(entry("Rose", **where), "a Rose")
    assert not fires(entry("Rose", **where), "a rose")


def test_extension_beats_the_field_for_case() -> None:
    assert fires(entry("Rose", case_sensitive=True, extensions={"case_sensitive": False}), "a rose")


@pytest.mark.parametrize(
    ("key", "text", "found"),
    [
        ("/drag(on|net)s?/i", "DRAGNETS", True),
        ("/dragon/", "Dragon", False),
        (r"/\bcat\b/", "concat", False),
        (r"/a\/b/", "a/b", True),
        ("/a/b/", "say /a/b/ now", True),
        ("/a/b/", "a/b", False),
        (r"/\u0041\u{42}/", "AB", True),
        (r"/\uD83D\uDE00/u", "\U0001f600", True),
        (r"/[^]x/s", "\nx", True),
        ("/a[]/", "a", False),
        ("/[[a]b/", "[b", True),
        (r"/[\]\u0041]b/", "Ab", True),
        (r"/\p{Script=Han}/u", "字", True),
        ("/^b/m", "a\nb", True),
        ("/a.b/", "a\nb", False),
        ("/a.b/s", "a\nb", True),
        (r"/\cJb/", "a\nb", True),
        ("/x{2}/gimsuy", "XX", True),
        ("/cafe\u0301/", "caf\u00e9", True),
    ],
)
def test_javascript_expression_means_the_same(key: str, text: str, found: bool) -> None:
    assert fires(entry(key), text) is found


def test_expression_finds_who_speaks() -> None:
    spoken = Chat([Message("assistant", "the well is dry", "Odo"), Message("user", "so it is", "Mira")])
    assert fires(entry(r"/\x01Odo:[^\x01]*well/"), spoken)
    assert not fires(entry(r"/\x01Mira:[^\x01]*well/"), spoken)


def test_name_in_an_expression_stands_for_itself() -> None:
    def expand(text: str) -> str:
        return text.replace("{{char}}", "Mr. (X)")

    assert fires(entry("/{{char}} waits/"), "Mr. (X) waits", expand=expand)
    assert not fires(entry("/{{char}} waits/"), "Mrs (X) waits", expand=expand)
    assert fires(entry("{{char}}"), "mr. (x)", expand=expand)


@pytest.mark.parametrize("key", ["/(?=a)a/", r"/(a)\1/", "/(?<!x)a/", "/(/", "/a{3000}/", "/" + "a" * 3000 + "/"])
def test_expression_that_cannot_run_never_fires_and_is_told(key: str) -> None:
    assert reasons(run([entry(key, content="x", name="n")], "aa a")) == {"n": Reason.NOT_FOUND}
    assert any("can't be searched for" in warning for warning in warnings(entry(key)))


def test_other_keys_find_an_entry_whose_expression_cannot_run() -> None:
    assert fires(entry("/(?=a)a/", "dragon"), "dragon")


def test_v3_expressions_need_no_slashes() -> None:
    assert fires(entry("drag(on|net)", use_regex=True), "a dragnet")
    assert fires(entry("/dragon/i", use_regex=True), "DRAGON")
    assert not fires(entry("drag(on|net)", use_regex=False), "a dragnet")
    assert not fires(entry("/dragon/", use_regex=False), "dragon")


def test_v3_lets_no_expression_match_beside_a_broken_one() -> None:
    both = entry("dragon", "(", use_regex=True, name="n")
    assert reasons(run([both], "dragon")) == {"n": Reason.BROKEN}


def test_v3_ignores_constant_and_secondary_keys_beside_expressions() -> None:
    assert not fires(entry("dragon", use_regex=True, constant=True), "nothing")
    assert fires(entry("dragon", use_regex=True, selective=True, secondary_keys=["red"]), "dragon")


@pytest.mark.parametrize("home", [{"selectiveLogic": 0}, {"display_index": 3}, {"risu_activationPercent": 100}])
def test_home_that_always_says_use_regex_means_slashes(home: dict[str, object]) -> None:
    assert fires(entry("c++", use_regex=True, extensions=home), "c++")
    assert not fires(entry("drag(on|net)", use_regex=True, extensions=home), "dragnet")
    assert fires(entry("/drag(on|net)/", use_regex=True, extensions=home), "dragnet")
    assert fires(entry("x", use_regex=True, constant=True, extensions=home), "nothing")


def test_remarks_are_not_searched() -> None:
    assert not fires(entry("dragon"), "{{// the dragon}} {{comment: dragon}} {{hidden_key:dragon}}")


def test_no_key_is_found_across_two_messages() -> None:
    assert not fires(entry("red dragon"), chat("red", "dragon"))
    assert not fires(entry("/red\\s*dragon/"), chat("dragon", "red"))


@pytest.mark.parametrize(
    "key", ["/(a|b)*a(a|b){200}c/", "/(x+x+)+y/", "/((a|b)*a(a|b){9}){40}c/", "/(.*)(.*)(.*)(.*)c/s"]
)
def test_expression_that_explodes_elsewhere_ends(key: str) -> None:
    began = time.process_time()
    run([entry(key) for _ in range(500)], "ab" * 20_000 + "x" * 20_000)
    assert time.process_time() - began < 5


def test_effort_is_bounded_and_said() -> None:
    many = [entry(f"/(a|b)*a(a|b){{200}}c{number}/", name=str(number)) for number in range(80)]
    told = reasons(run(many, "ab" * 20_000))
    assert told["0"] is Reason.NOT_FOUND
    assert told["79"] is Reason.EFFORT


@pytest.mark.parametrize(("key", "most"), [("/a{}b+/", 20), ("plain{}", 250), ("/(?:x{}|[a-z]{{60}}){{60}}/", 1)])
def test_book_has_room_for_so_many_keys(monkeypatch: pytest.MonkeyPatch, key: str, most: int) -> None:
    monkeypatch.setattr(rulebook, "Room", lambda: Room(MAX_BOOK_SIZE // 1000))
    listed = ",".join(key.format(number) for number in range(most))
    first = entry(content=f"@@exclude_keys {listed}", name="first")
    assert not any("more keys" in one for one in warnings(first))
    assert "entry #1: has more keys than one book can have; they find nothing" in warnings(first, entry("ash"))
    assert reasons(run([first, entry("ash", name="ash")], "ash"))["ash"] is Reason.NOT_FOUND


def test_plain_keys_of_a_thousand_entries_are_all_searched_for() -> None:
    many = [entry(f"place{number}", f"name{number}", name=str(number)) for number in range(1000)]
    assert set(reasons(run(many, "word " * 400)).values()) == {Reason.NOT_FOUND}


@given(st.text(string.printable, max_size=30), st.text("/gimsuy", max_size=4))
def test_no_key_raises(pattern: str, flags: str) -> None:
    run([entry(f"/{pattern}/{flags}"), entry(pattern, use_regex=True)], "some text")


@given(st.text("abAB", min_size=1, max_size=3), st.text("abAB ", max_size=12), st.booleans())
def test_plain_key_is_found_as_python_finds_it(key: str, text: str, case_sensitive: bool) -> None:
    expected = key in text if case_sensitive else key.lower() in text.lower()
    assert fires(entry(key, case_sensitive=case_sensitive), text) is expected
