"""Sticky, cooldown, delay, and what fires once: against a naive player of the same chat, and replayed from JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from characters.lore.activation import Activation
from characters.lore.chat import Chat, Message
from characters.lore.reason import Reason
from characters.lore.timing import LoreState, Span, parse_state
from tests.lore import Entry, entry, names, reasons, run


def timed(**options: Any) -> Entry:
    return entry("ash", name="a", id="a", extensions=options)


def at(count: int, text: str = "nothing", **known: Any) -> Chat:
    """A chat that has `count` messages, of which the last says `text`."""
    return Chat([Message("user", text)], earlier_messages=count - 1, **known)


def play(made: Entry, said: dict[int, str], until: int) -> dict[int, Activation]:
    """Turns at each odd message count, as a chat has them; state goes from turn to turn as stored JSON."""
    turns: dict[int, Activation] = {}
    stored = "null"
    for count in range(1, until, 2):
        state = parse_state(json.loads(stored))
        turns[count] = run([made], at(count, said.get(count, "nothing")), state=state)
        stored = json.dumps(turns[count].state.to_json())
    return turns


def fired_at(made: Entry, said: dict[int, str], until: int = 16) -> list[int]:
    return [count for count, turn in play(made, said, until).items() if turn.fired]


def test_sticky_entry_stays_for_so_many_messages() -> None:
    assert fired_at(timed(sticky=4), {3: "ash"}) == [3, 5]
    assert fired_at(timed(sticky=5), {3: "ash"}) == [3, 5, 7]


def test_sticky_entry_begins_anew_only_when_it_is_over() -> None:
    assert fired_at(timed(sticky=4), {3: "ash", 5: "ash"}) == [3, 5]
    assert fired_at(timed(sticky=4), {3: "ash", 7: "ash"}) == [3, 5, 7, 9]


def test_cooling_entry_rests_for_so_many_messages() -> None:
    assert fired_at(timed(cooldown=4), dict.fromkeys(range(3, 16), "ash")) == [3, 7, 11, 15]


def test_entry_rests_once_it_no_longer_sticks() -> None:
    assert fired_at(timed(sticky=3, cooldown=4), dict.fromkeys(range(3, 16), "ash")) == [3, 5, 11, 13]


def test_delayed_entry_waits_for_a_longer_chat() -> None:
    assert fired_at(timed(delay=6), dict.fromkeys(range(16), "ash"))[0] == 7


def test_reasons_of_time() -> None:
    turns = play(timed(cooldown=3, delay=3), dict.fromkeys(range(16), "ash"), 8)
    assert reasons(turns[1]) == {"a": Reason.DELAY}
    assert reasons(turns[5]) == {"a": Reason.COOLDOWN}


def test_constant_entry_rests_too() -> None:
    made = {**timed(cooldown=4), "constant": True}
    assert fired_at(made, {}) == [1, 5, 9, 13]


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6), st.sets(st.integers(0, 10)))
def test_timing_is_that_of_a_naive_player(sticky: int, cooldown: int, delay: int, mentions: set[int]) -> None:
    """The rules in a chat that is never replayed, one message count at a time."""
    sticks_until = rests_until = 0
    expected = []
    for count in range(1, 22, 2):
        if sticks_until and count >= sticks_until:
            sticks_until = 0
            rests_until = count + cooldown if cooldown else rests_until
        sticks = count < sticks_until
        rests = count < rests_until and not sticks
        if count < delay or rests or not (sticks or count // 2 in mentions):
            continue
        expected.append(count)
        if not sticks:
            sticks_until = count + sticky if sticky else 0
            rests_until = count + cooldown if cooldown else 0
    said = {count: "ash" for count in range(1, 22, 2) if count // 2 in mentions}
    assert fired_at(timed(sticky=sticky, cooldown=cooldown, delay=delay), said, 22) == expected


@given(st.integers(0, 6), st.integers(0, 6), st.sets(st.integers(0, 10)), st.integers(0, 10))
def test_turn_that_is_replayed_on_its_own_state_is_the_same(
    sticky: int, cooldown: int, mentions: set[int], turn: int
) -> None:
    """Another swipe sees the state that the first one wrote; only a rest that began in that turn stays."""
    made = timed(sticky=sticky, cooldown=cooldown)
    said = {count: "ash" for count in range(1, 22, 2) if count // 2 in mentions}
    count = 2 * turn + 1
    first = play(made, said, count + 1)[count]
    again = run([made], at(count, said.get(count, "nothing")), state=first.state)
    assert (names(again), reasons(again), again.state) == (names(first), reasons(first), first.state)


@pytest.mark.parametrize("made", [timed(sticky=9), entry("ash", content="@@keep_activate_after_match\nx", id="a")])
def test_turn_that_is_taken_back_leaves_nothing(made: Entry) -> None:
    first = run([made], at(3, "ash"))
    assert run([made], at(5), state=first.state).fired
    assert not run([made], at(3), state=first.state).fired


@pytest.mark.parametrize("made", [timed(cooldown=9), entry("ash", content="@@dont_activate_after_match\nx", id="a")])
def test_entry_fires_again_in_another_swipe(made: Entry) -> None:
    first = run([made], at(3, "ash"))
    assert not run([made], at(5, "ash"), state=first.state).fired
    assert run([made], at(3, "ash"), state=first.state).fired


def test_state_of_entries_that_are_gone_lasts_until_it_is_over() -> None:
    state = LoreState(sticky={"book/gone": Span(1, 9)}, cooldown={"book/gone": Span(1, 9)})
    assert run([timed()], at(5), state=state).state == state
    assert run([timed()], at(9), state=state).state == LoreState()


def test_state_of_an_entry_that_no_longer_asks_for_it_is_dropped() -> None:
    state = LoreState(sticky={"book/a": Span(1, 9)}, cooldown={"book/a": Span(1, 9)})
    assert run([timed()], at(5), state=state).state == LoreState()


@pytest.mark.parametrize(
    ("decorator", "fired"), [("keep_activate_after_match", [5, 7, 9, 11, 13, 15]), ("dont_activate_after_match", [5])]
)
def test_entry_remembers_that_it_fired(decorator: str, fired: list[int]) -> None:
    made = entry("ash", content=f"@@{decorator}\nlore", id="a")
    assert fired_at(made, {5: "ash", 9: "ash"}) == fired


def test_frozen_entry_is_told_again_once_it_left_the_prompt() -> None:
    made = entry("ash", name="a", extensions={"opencharacter": {"freeze": True}})
    first = run([made], at(3, "ash"))
    assert [one.part for one in first.fired] == ["history"]
    assert reasons(run([made], at(5, "ash"), state=first.state)) == {"a": Reason.FROZEN}
    assert names(run([made], at(5, "ash", kept_from=3), state=first.state)) == ["a"]
    assert names(run([made], at(3, "ash"), state=first.state)) == ["a"]


@given(st.dictionaries(st.text(), st.builds(Span, st.integers(), st.integers(), st.booleans())))
def test_state_survives_json(spans: dict[str, Span]) -> None:
    state = LoreState(spans, spans, {"a": 1}, {"b": 2})
    assert parse_state(json.loads(json.dumps(state.to_json()))) == state
