"""A transcript that its client keeps: cut at the same place for many requests, never over the limit."""

from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.examples import Line
from models.prompt import KEEP_SHARE, Insertion, Prompt, PromptTooLong
from models.renderer import Role, Turn, load_renderer
from models.transcript import LEAST_SHARE, build_transcript_prompt
from tests.conftest import TINY
from tests.strategies import content

LLAMA = load_renderer(str(TINY))
# The same few sentences are encoded thousands of times here.
vars(LLAMA)["encode"] = lru_cache(maxsize=4096)(LLAMA.encode)
LIMIT = 1600
HEAD = LLAMA.encode("You are Odo, who bakes bread and sleeps by day. " * 8)
TAIL = LLAMA.encode("Stay brief.")
INSERTED = [Insertion(Turn("system", TAIL))]
ROOM = LIMIT - len(HEAD) - len(TAIL)

sizes = st.tuples(st.integers(1, 20), st.integers(1, 40))
chats = st.lists(sizes, min_size=60, max_size=90)


def say(role: Role, words: int) -> Line:
    return Line(role, " ".join(["The moon is up."] * words)[: words * 5].strip())


def transcripts(chat: list[tuple[int, int]]) -> list[list[Line]]:
    """What a client sends, request by request."""
    lines, sent = [say("assistant", 5)], []
    for asked, answered in chat:
        lines.append(say("user", asked))
        sent.append(list(lines))
        lines.append(say("assistant", answered))
    return sent


def build(lines: list[Line], limit: int = LIMIT) -> Prompt:
    return build_transcript_prompt(LLAMA, [Turn("system", HEAD)], lines, inserted=INSERTED, limit_tokens=limit)


def render(lines: list[Line], start: int) -> list[int]:
    turns = [Turn(line.role, LLAMA.encode(line.text)) for line in lines]
    return LLAMA.render([Turn("system", HEAD), *turns[start:-1], Turn("system", TAIL), turns[-1]])


def count_tokens(lines: list[Line]) -> int:
    return len(LLAMA.render([Turn(line.role, LLAMA.encode(line.text)) for line in lines]))


@given(chats)
@settings(max_examples=20)
def test_start_moves_rarely_as_the_transcript_grows(chat: list[tuple[int, int]]) -> None:
    sent = transcripts(chat)
    starts = [build(lines).start for lines in sent]
    moves = sum(before != after for before, after in pairwise(starts))
    # A block each time, but where a turn's end falls badly; a cut made anew would move at nearly every request.
    assert moves <= 2 * count_tokens(sent[-1]) / (ROOM * (1 - KEEP_SHARE))
    assert moves <= len(starts) / 4


@given(chats)
@settings(max_examples=20)
def test_prompt_is_the_transcript_from_its_start(chat: list[tuple[int, int]]) -> None:
    for lines in transcripts(chat)[::9]:
        prompt = build(lines)
        assert prompt.token_ids == render(lines, prompt.start)
        assert len(prompt.token_ids) <= LIMIT
        assert prompt.start == 0 or lines[prompt.start].role == "user"


@given(st.lists(st.tuples(content, st.integers(1, 12)), min_size=1, max_size=30), st.integers(150, 600))
@settings(max_examples=40)
def test_prompt_never_exceeds_the_limit(texts: list[tuple[str, int]], limit: int) -> None:
    roles: list[Role] = ["user", "assistant", "system"]
    lines = [Line(roles[number % 3], text * times) for number, (text, times) in enumerate(texts)]
    with suppress(PromptTooLong):
        prompt = build_transcript_prompt(
            LLAMA, [Turn("system", HEAD[:60])], lines, inserted=INSERTED, limit_tokens=limit
        )
        assert len(prompt.token_ids) <= limit


@pytest.mark.parametrize("sentence", ["The moon is up. ", "月が出ている。", "Луна взошла. ", "🌙", "moon" * 4])
def test_cut_leaves_its_share_whatever_the_script(sentence: str) -> None:
    lines = [Line("user" if number % 2 else "assistant", sentence * 3) for number in range(400)]
    for length in range(300, 400, 10):
        prompt = build(lines[:length])
        assert len(prompt.token_ids) > LIMIT - ROOM * (1 - LEAST_SHARE) - count_tokens(lines[:4])


def test_transcript_that_fits_is_not_cut() -> None:
    lines = transcripts([(5, 5)] * 5)[-1]
    needed = len(render(lines, 0))
    assert build(lines, needed).start == 0
    assert build(lines, needed - 1).start > 0


def test_old_lines_are_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = 0
    encode = LLAMA.encode

    def count(text: str) -> list[int]:
        nonlocal encoded
        encoded += len(text)
        return encode(text)

    lines = [say(role, 30) for _ in range(3000) for role in ("assistant", "user")]
    monkeypatch.setattr(LLAMA, "encode", count)
    build(lines)
    assert encoded < sum(len(line.text) for line in lines) / 20


def test_last_exchange_that_does_not_fit_is_refused_with_both_numbers() -> None:
    lines = [*transcripts([(5, 5)] * 5)[-1], Line("assistant", "Hm."), Line("user", "moon " * LIMIT)]
    with pytest.raises(PromptTooLong, match="the card with the last message needs") as refused:
        build(lines)
    assert refused.value.needed_tokens == len(render(lines, len(lines) - 1))


def test_head_that_does_not_fit_is_refused() -> None:
    with pytest.raises(PromptTooLong, match="the character's card needs"):
        build([Line("user", "Hello.")], len(HEAD) - 1)


def test_begun_reply_stays_at_the_end() -> None:
    lines = [*transcripts([(20, 40)] * 60)[-1], Line("assistant", "Once upon")]
    begun: list[Any] = [Turn(line.role, LLAMA.encode(line.text)) for line in lines[-2:]]
    expected = LLAMA.render([Turn("system", TAIL), *begun])[1:]
    assert build(lines).token_ids[-len(expected) :] == expected
