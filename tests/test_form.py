"""Forms: what is given comes back word for word, what is written keeps its bound, and the longest reply has room."""

import json
from functools import lru_cache
from random import Random
from typing import Any

import pytest
import xgrammar
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from characters.profile import LABELS, SYNTHESIS_LENGTHS
from models.synthesis.form import BOUNDS, Form, ProfileTooLong, alphabets_for, build_form, fit_form
from tests.fake_engine import TINY

CONTEXT = VOCABULARY = 4096
WIDEST = {2: "ß", 3: "鸟", 4: "🐟"}
# What people write into profiles, and a JSON string can't hold as it is.
VALUES = [
    "Odo",
    "a/b",
    'says "no"',
    "C:\\new",
    "ß鸟🐟",
    "tab\there\x7f",
    "</script>",
    "{{user}} (a) [b] {c} ^$",
    " a  b ",
]


@lru_cache
def compiler() -> Any:  # xgrammar publishes no types
    tokenizer = xgrammar.TokenizerInfo.from_huggingface(AutoTokenizer.from_pretrained(TINY), vocab_size=VOCABULARY)
    return xgrammar.GrammarCompiler(tokenizer)


def is_allowed(form: Form, values: dict[str, str]) -> bool:
    """Whether the engine could write exactly these."""
    schema = json.dumps(form.json_schema())
    grammar = compiler().compile_json_schema(schema, any_whitespace=False, separators=(",", ":"))
    matcher = xgrammar.GrammarMatcher(grammar)
    return bool(matcher.accept_string(write(values)) and matcher.is_completed())


def write(values: dict[str, str]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def longest(form: Form) -> dict[str, str]:
    """The longest reply."""
    widest = WIDEST[form.char_bytes]
    fields = [field for field in LABELS if field in form.given or field in form.lengths]
    return {field: form.given.get(field) or widest * form.lengths[field] for field in fields}


@pytest.mark.parametrize("value", VALUES)
def test_given_value_is_all_that_can_be_written(value: str) -> None:
    form = build_form({"name": value, "friend": value}, char_bytes=4)
    reply = longest(form)
    assert is_allowed(form, reply)
    assert not is_allowed(form, reply | {"name": "Somebody else"})
    assert len(write(reply).encode()) + 1 == form.longest_tokens
    written = form.parse(write(reply))
    assert list(written) == [field for field in LABELS if field not in ("name", "friend")]


@pytest.mark.parametrize("char_bytes", WIDEST)
@pytest.mark.parametrize("bound", BOUNDS)
def test_bounded_form_is_as_long_as_said(char_bytes: int, bound: int) -> None:
    form = build_form({"age": "40"}, char_bytes, bound)
    reply = longest(form)
    assert max(map(len, reply.values())) <= bound
    assert is_allowed(form, reply)
    assert len(write(reply).encode()) + 1 == form.longest_tokens


def test_nothing_is_decoded_behind_the_last_missing_field() -> None:
    known = dict.fromkeys(LABELS, "known")
    del known["gender"]
    form = build_form(known, char_bytes=2)
    assert list(form.json_schema()["properties"]) == ["name", "age", "gender"]
    assert form.parse('{"name":"known","age":"known","gender":"woman"}') == {"gender": "woman"}


def test_value_of_which_nothing_can_be_written_is_left_out() -> None:
    form = build_form({"name": '\\ "'.replace('"', "\\"), "goal": "x"}, char_bytes=2)
    assert form.given == {}
    assert "name" not in form.lengths


@pytest.mark.parametrize(
    "reply", ["[]", "1", "{}", '{"name":"x"}', '{"name":"x","age":"1","goal":"y"}', "", '{"name":"x","age":" "}']
)
def test_reply_that_is_no_such_form_is_refused(reply: str) -> None:
    form = build_form({field: "x" for field in LABELS if field != "age"}, char_bytes=2)
    with pytest.raises(ValueError):  # noqa: PT011  # JSON's, pydantic's or ours
        form.parse(reply)


@settings(max_examples=50)
@given(st.integers(1, CONTEXT), st.integers(512, 32_768), st.sampled_from([0.0, 0.25, 1.0]))
def test_form_that_was_chosen_fits(prompt_tokens: int, context: int, shown: float) -> None:
    smallest = build_form({"name": "Odo"}, 2, BOUNDS[-1])
    if prompt_tokens + int(shown * smallest.longest_tokens) + smallest.longest_tokens > context:
        with pytest.raises(ProfileTooLong, match=str(context)):
            fit_form({"name": "Odo"}, prompt_tokens, context, bounds=BOUNDS, shown=shown)
        return
    form = fit_form({"name": "Odo"}, prompt_tokens, context, bounds=BOUNDS, shown=shown)
    assert prompt_tokens + int(shown * form.longest_tokens) + form.longest_tokens <= context
    assert all(length <= SYNTHESIS_LENGTHS[field] for field, length in form.lengths.items())


@pytest.mark.parametrize(
    ("text", "alphabets"),
    [
        ("", (4, 3, 2)),
        ("“Plain” – with signs… 🐟", (4, 3, 2)),
        ("Стареющая балерина", (4, 3, 2)),
        ("引退した将棋棋士", (4, 3)),
        ("a little 鸟", (4, 3)),
        ("a little " * 1000 + "鸟", (4, 3, 2)),
        ("𐌰𐌱", (4,)),
    ],
)
def test_alphabet_spells_the_text(text: str, alphabets: tuple[int, ...]) -> None:
    assert alphabets_for(text) == alphabets


@pytest.mark.parametrize("char_bytes", [2, 3, 4])
def test_no_token_is_let_through_and_then_refused(char_bytes: int) -> None:
    texts = [str(text) for text in AutoTokenizer.from_pretrained(TINY).batch_decode([[n] for n in range(VOCABULARY)])]
    words = {number for number, text in enumerate(texts) if text.strip().isalpha() and len(text) > 3}
    ends = {number for number, text in enumerate(texts) if '"' in text}
    form = build_form({}, char_bytes)
    matcher = xgrammar.GrammarMatcher(compiler().compile_json_schema(json.dumps(form.json_schema())))
    mask = xgrammar.allocate_token_bitmask(1, VOCABULARY)
    draw, tried, refused = Random(1), 0, set()
    assert matcher.accept_string("{")
    for place, field in enumerate(form.lengths, 1):
        assert matcher.accept_string(f'"{field}":"A')
        for _ in range(8):
            matcher.fill_next_token_bitmask(mask)
            allowed = {number for number in range(VOCABULARY) if int(mask[0][number >> 5]) >> (number & 31) & 1}
            for end in allowed & ends:
                tried += 1
                if matcher.accept_token(end):
                    matcher.rollback(1)
                else:
                    refused.add((field, texts[end]))
            if more := sorted(allowed & words):
                assert matcher.accept_token(draw.choice(more))
        assert matcher.accept_string('",' if place < len(form.lengths) else '"}')
    assert tried > 100
    assert not refused
