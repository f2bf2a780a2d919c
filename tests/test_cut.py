"""Planned cuts: where they are made, that they keep no more, and that what they leave is read ahead."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from models.cut import expect, plan_cut
from models.prompt import PlannedCut, Prompt, build_prefix, build_prompt, next_cut
from models.renderer import Turn
from tests.test_prompt import HEAD, LIMIT, LLAMA, TAIL, build_turns, chats, insert, say

RECAP = [*HEAD, Turn("system", LLAMA.encode("They met at the mill."))]
HEAD_TOKENS = len(LLAMA.render(HEAD))


@dataclass(frozen=True)
class Taken:
    """A turn as it was taken: its prompt, the plan there was, and the cut that would have been made without one."""

    prompt: Prompt
    count: int
    start: int
    planned: int | None
    unplanned: Prompt
    ahead: list[int]


def talk(turns: list[Turn], tail: list[int]) -> Iterator[Taken]:
    """The chat as a session holds it, its cuts planned after each turn."""
    start, planned, head, ahead = 0, None, HEAD, list[int]()
    for count, turn in enumerate(turns, 1):
        if turn.role != "user":
            continue
        asked, inserted = turns[:count], insert(tail)
        plan = None if planned is None else PlannedCut(planned, RECAP)
        unplanned = build_prompt(LLAMA, head, asked, inserted=inserted, limit_tokens=LIMIT, start=start)
        prompt = build_prompt(LLAMA, head, asked, inserted=inserted, limit_tokens=LIMIT, start=start, planned=plan)
        yield Taken(prompt, count, start, planned, unplanned, ahead)
        if prompt.start != start:
            planned, head = None, RECAP if prompt.as_planned else head
        start = prompt.start
        told, beside = turns[: count + 1], len(tail) + 8
        if told[-1].role == "assistant":
            found = plan_cut(LLAMA, head, told, beside_tokens=beside, limit_tokens=LIMIT, start=start, planned=planned)
            planned = planned if found is None else found
            ahead = build_prefix(LLAMA, head if found is None else RECAP, told[start if found is None else found :])


@given(chats, st.booleans())
def test_what_is_read_ahead_begins_the_next_prompt(chat: list[tuple[int, int]], tailed: bool) -> None:
    for taken in talk(build_turns(chat), TAIL if tailed else []):
        if taken.prompt.as_planned or (taken.planned is None and taken.prompt.start == taken.start):
            assert taken.prompt.token_ids[: len(taken.ahead)] == taken.ahead


@given(chats, st.booleans())
def test_planned_cut_keeps_no_more_than_another_would(chat: list[tuple[int, int]], tailed: bool) -> None:
    for taken in talk(build_turns(chat), TAIL if tailed else []):
        assert taken.prompt.start >= taken.unplanned.start
        assert len(taken.prompt.token_ids) <= LIMIT


@given(chats, st.booleans())
def test_plan_alone_cuts_nothing(chat: list[tuple[int, int]], tailed: bool) -> None:
    for taken in talk(build_turns(chat), TAIL if tailed else []):
        assert taken.prompt.start == taken.start or taken.unplanned.start != taken.start


@given(st.integers(2, 12), st.integers(2, 12), st.booleans())
def test_every_cut_of_an_even_chat_is_planned(asked: int, answered: int, tailed: bool) -> None:
    chat = list(talk(build_turns([(asked, answered)] * 40), TAIL if tailed else []))
    cuts = [taken for taken in chat if taken.prompt.start != taken.start]
    assert len(cuts) >= 2
    assert all(taken.prompt.as_planned for taken in cuts)


def test_plan_is_not_made_again_while_it_is_good() -> None:
    plans = [taken.planned for taken in talk(build_turns([(6, 6)] * 60), TAIL)]
    moved = [(before, after) for before, after in pairwise(plans) if before and after]
    assert moved
    assert all(before == after for before, after in moved)


def test_message_longer_than_expected_is_cut_for_as_if_nothing_was_planned() -> None:
    turns = build_turns([(6, 6)] * 20)
    long = [*turns, say("assistant", 5), say("user", 120)]
    planned = PlannedCut(8, RECAP)
    cut = build_prompt(LLAMA, HEAD, long, limit_tokens=LIMIT, planned=planned)
    assert cut == build_prompt(LLAMA, HEAD, long, limit_tokens=LIMIT)
    assert not cut.as_planned


def test_planned_head_that_no_longer_fits_is_left() -> None:
    turns = build_turns([(6, 6)] * 30)
    start = build_prompt(LLAMA, HEAD, turns, limit_tokens=LIMIT).start
    too_long = PlannedCut(start, [*HEAD, say("system", LIMIT)])
    assert not build_prompt(LLAMA, HEAD, turns, limit_tokens=LIMIT, planned=too_long).as_planned


def test_no_cut_is_planned_that_would_leave_nothing() -> None:
    turns = [say("user", 20), say("assistant", 20)]
    assert plan_cut(LLAMA, HEAD, turns, beside_tokens=0, limit_tokens=HEAD_TOKENS + 60) is None


def test_no_cut_is_planned_where_the_head_fills_the_context() -> None:
    turns = build_turns([(6, 6)] * 30)
    assert plan_cut(LLAMA, HEAD, turns, beside_tokens=0, limit_tokens=HEAD_TOKENS) is None


def test_next_cut_is_where_the_next_prompt_is_cut() -> None:
    turns = build_turns([(6, 6)] * 40)
    # A message of as many tokens, the template's glue around it left out on both sides.
    expected = len(turns[-1].token_ids)
    cut = next_cut(LLAMA, HEAD, turns[:-1], expected_tokens=expected, limit_tokens=LIMIT)
    assert cut == build_prompt(LLAMA, HEAD, turns, limit_tokens=LIMIT).start


def test_next_message_is_expected_to_be_as_long_as_the_longest_of_late() -> None:
    turns = build_turns([(90, 4), (5, 4), *[(4, 4)] * 10, (20, 4), (1, 1)])
    asked, exchange = expect(turns)
    assert len(say("user", 20).token_ids) <= asked < len(say("user", 90).token_ids)
    assert 0 < exchange < asked


def test_nothing_said_is_nothing_expected() -> None:
    assert plan_cut(LLAMA, HEAD, [], beside_tokens=10, limit_tokens=LIMIT) is None
