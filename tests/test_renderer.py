"""Messages to ids: what the model's own chat template writes, and nothing that content could forge."""

from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from models.renderer import Llama3Renderer, Role, Turn, load_renderer
from tests.conftest import TINY
from tests.strategies import FORGED_TURN, SPECIAL, any_text, content, forging_text, lines, plain_text, roles, to_turns

LLAMA = load_renderer(str(TINY))
HF: Any = AutoTokenizer.from_pretrained(TINY)  # transformers' return types depend on its arguments' values
GLUE = Tokenizer.from_str(HF.backend_tokenizer.to_str())
SPECIAL_IDS = {GLUE.get_vocab()[token] for token in SPECIAL}
START, END = GLUE.get_vocab()["<|start_header_id|>"], GLUE.get_vocab()["<|eot_id|>"]


def by_template(said: list[tuple[Role, str]], *, generate: bool) -> list[int]:
    """What transformers makes of the conversation with the model's own template."""
    messages = [{"role": role, "content": text} for role, text in said]
    text: str = HF.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
    ids: list[int] = GLUE.encode(text, add_special_tokens=False).ids
    return ids


@given(st.lists(lines, min_size=1, max_size=8))
def test_llama3_equals_the_chat_template(said: list[tuple[Role, str]]) -> None:
    closed = list(chain.from_iterable(segment.token_ids for segment in LLAMA.segments(to_turns(LLAMA, said))))
    assert closed == by_template(said, generate=False)


@given(st.lists(lines, max_size=7), plain_text)
def test_llama3_prompt_equals_the_chat_template(said: list[tuple[Role, str]], last: str) -> None:
    said = [*said, ("user", last)]
    assert LLAMA.render(to_turns(LLAMA, said)) == by_template(said, generate=True)


@given(forging_text)
def test_encode_never_gives_a_special_token(text: str) -> None:
    assert SPECIAL_IDS.isdisjoint(LLAMA.encode(text))


@pytest.mark.parametrize("token", SPECIAL)
def test_encode_reads_a_special_token_as_text(token: str) -> None:
    assert len(LLAMA.encode(token)) > 1
    assert LLAMA.decode(LLAMA.encode(token)) == token


@given(content)
def test_decode_gives_back_what_was_encoded(text: str) -> None:
    assert LLAMA.decode(LLAMA.encode(text)) == text


@given(st.lists(st.tuples(roles, forging_text), min_size=1, max_size=6))
def test_content_opens_and_closes_no_turn(said: list[tuple[Role, str]]) -> None:
    ids = LLAMA.render(to_turns(LLAMA, [*said, ("user", FORGED_TURN)]))
    assert ids.count(START) == len(said) + 2  # with the user's and the one that is asked for
    assert ids.count(END) == len(said) + 1


def test_decode_writes_special_tokens_out() -> None:
    assert LLAMA.decode([START, *LLAMA.encode("Hello"), END]) == "<|start_header_id|>Hello<|eot_id|>"


@given(st.lists(st.tuples(roles, content), min_size=1, max_size=6))
def test_segments_and_render_agree(said: list[tuple[Role, str]]) -> None:
    turns = to_turns(LLAMA, said)
    closed = list(chain.from_iterable(segment.token_ids for segment in LLAMA.segments(turns)))
    opened = LLAMA.render(turns)
    if turns[-1].role == "assistant":
        assert opened == closed[:-1]
    else:
        assert opened[: len(closed)] == closed
        assert GLUE.decode(opened[len(closed) :], skip_special_tokens=False) == (
            "<|start_header_id|>assistant<|end_header_id|>\n\n"
        )


@given(st.lists(st.tuples(roles, content), min_size=1, max_size=6))
def test_loss_mask_is_the_replies_with_their_end(said: list[tuple[Role, str]]) -> None:
    turns = to_turns(LLAMA, said)
    marked = [list(segment.token_ids) for segment in LLAMA.segments(turns) if segment.is_reply]
    replies = [list(turn.token_ids) for turn in turns if turn.role == "assistant"]
    assert list(chain.from_iterable(marked)) == [token for reply in replies for token in (*reply, END)]


@given(st.lists(lines, min_size=1, max_size=5), any_text)
def test_llama3_continues_an_open_turn(said: list[tuple[Role, str]], begun: str) -> None:
    asked = to_turns(LLAMA, [*said, ("user", "Go on.")])
    assert LLAMA.render([*asked, Turn("assistant", LLAMA.encode(begun))]) == LLAMA.render(asked) + LLAMA.encode(begun)


@given(st.lists(lines, min_size=1, max_size=5), content)
def test_llama3_prompt_and_reply_are_a_prefix_of_the_next(said: list[tuple[Role, str]], reply: str) -> None:
    turns = to_turns(LLAMA, [*said, ("user", "And?")])
    spoken = Turn("assistant", LLAMA.encode(reply))
    before = [*LLAMA.render(turns), *spoken.token_ids, END]
    after = LLAMA.render([*turns, spoken, Turn("user", LLAMA.encode("And then?"))])
    assert after[: len(before)] == before


def test_llama3_stops_at_both_ends() -> None:
    assert set(LLAMA.stop_token_ids) == {END, GLUE.token_to_id("<|end_of_text|>")}


def test_load_renderer_knows_llama3() -> None:
    assert isinstance(LLAMA, Llama3Renderer)
