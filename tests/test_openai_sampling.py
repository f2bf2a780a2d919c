"""Sampling over OpenAI's surface: each field does what it says, and constrained replies keep to their constraint."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import jsonschema
import pytest
from openai import OpenAI
from pydantic import BaseModel

from models.renderer import Renderer
from tests.openai_client import HELLO, VARIED, ask, completion_tokens, spoken, stream, text


def test_n_gives_so_many_choices(api: OpenAI) -> None:
    completion = ask(api, n=2, **VARIED)
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert text(completion, 0) != text(completion, 1)
    assert completion_tokens(completion) == 48


def test_streamed_n_finishes_every_choice(api: OpenAI) -> None:
    chunks = stream(api, n=2, **VARIED)
    finished = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(finished) == [0, 1]
    assert spoken(chunks, 0) != spoken(chunks, 1)


def test_seed_repeats_the_reply(api: OpenAI) -> None:
    ask(api, seed=1, **VARIED)
    first, again, other = (text(ask(api, seed=seed, **VARIED)) for seed in (1, 1, 2))
    assert first == again != other


def test_long_seeded_prompts_at_once_are_all_answered(api: OpenAI) -> None:
    def say(number: int) -> str:
        long: Any = [{"role": "user", "content": f"{number} " + "moon " * 2500}]
        return text(ask(api, messages=long, seed=number, **VARIED))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(say, range(8)))


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_longest_reply_is_kept_to(api: OpenAI, field: str) -> None:
    completion = ask(api, **{"max_tokens": None, field: 5}, extra_body={"ignore_eos": True})
    assert completion.choices[0].finish_reason == "length"
    assert completion_tokens(completion) == 5


def test_min_tokens_and_ignore_eos_give_an_exact_count(api: OpenAI) -> None:
    completion = ask(api, max_tokens=17, extra_body={"min_tokens": 17, "ignore_eos": True})
    assert completion_tokens(completion) == 17


@pytest.mark.parametrize("many", [False, True])
def test_stop_string_ends_the_reply_before_it(api: OpenAI, many: bool) -> None:
    ask(api, seed=3, **VARIED)
    whole = text(ask(api, seed=3, **VARIED))
    stop = whole[len(whole) // 2 : len(whole) // 2 + 4]
    stopped = ask(api, seed=3, stop=[stop, "never said"] if many else stop, **VARIED)
    assert text(stopped) == whole.partition(stop)[0]
    assert stopped.choices[0].finish_reason == "stop"


def test_logprobs_are_told_for_every_token(api: OpenAI) -> None:
    completion = ask(api, logprobs=True, top_logprobs=3)
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content) == completion_tokens(completion)
    for token in logprobs.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert sorted(token.top_logprobs, key=lambda entry: -entry.logprob) == token.top_logprobs


def test_logprobs_without_alternatives(api: OpenAI) -> None:
    logprobs = ask(api, logprobs=True, extra_body={"ignore_eos": True}).choices[0].logprobs
    assert logprobs is not None
    assert [token.top_logprobs for token in logprobs.content or []] == [[]] * 8


def test_streamed_logprobs_are_as_many_as_tokens(api: OpenAI) -> None:
    chunks = stream(api, logprobs=True, top_logprobs=1, extra_body={"ignore_eos": True})
    told = [choice.logprobs for chunk in chunks for choice in chunk.choices if choice.logprobs]
    assert sum(len(logprobs.content or ()) for logprobs in told) == 8


def test_logit_bias_is_honoured(api: OpenAI, renderer: Renderer) -> None:
    wanted = renderer.encode("moon")[0]
    completion = ask(api, max_tokens=4, logit_bias={str(wanted): 100}, temperature=0)
    assert text(completion) == renderer.decode([wanted]) * 4


@pytest.mark.parametrize("bias", [{}, {"999999": 5}, {"50256": -100, "1": 1}])
def test_logit_bias_of_another_vocabulary_is_left_out(api: OpenAI, bias: dict[str, int]) -> None:
    assert text(ask(api, logit_bias=bias))


@pytest.mark.parametrize(
    "fields",
    [
        {"frequency_penalty": 0.5, "presence_penalty": -0.5, "top_p": 0.9},
        {"extra_body": {"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.1}},
        {"extra_body": {"top_k": -1, "seed": -1, "min_p": None, "temperature": "0.5"}},
        {"temperature": 0, "top_p": 0, "user": "somebody", "metadata": {"a": "b"}, "store": False},
    ],
    ids=["penalties", "vllm's", "front-ends'", "the rest"],
)
def test_sampling_fields_are_accepted(api: OpenAI, fields: dict[str, Any]) -> None:
    assert text(ask(api, **fields))


def test_unknown_fields_are_accepted(api: OpenAI) -> None:
    assert text(ask(api, extra_body={"mirostat": 2, "nested": {"deep": [1, None]}, "tools": []}))


# Structured outputs


MOOD = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["glad", "sad"]},
        "why": {"type": "string", "minLength": 1, "maxLength": 12},
        "level": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["mood", "why", "level"],
    "additionalProperties": False,
}


class Mood(BaseModel):
    """As MOOD, for the client's own parser."""

    mood: Literal["glad", "sad"]
    certain: bool


def test_json_schema_is_followed(api: OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "mood", "schema": MOOD, "strict": True}}
    completion = ask(api, response_format=form, max_tokens=100)
    assert completion.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(text(completion)), MOOD)


def test_json_schema_string_holds_no_control_character(api: OpenAI, renderer: Renderer) -> None:
    wanted = {str(renderer.encode(sign)[0]): 100 for sign in ("\t", "\x11")}
    form = {"type": "json_schema", "json_schema": {"name": "mood", "schema": MOOD}}
    json.loads(text(ask(api, response_format=form, logit_bias=wanted, max_tokens=100)))


def test_parse_helper_gives_the_object(api: OpenAI) -> None:
    completion = api.chat.completions.parse(model="tiny", messages=HELLO, response_format=Mood, max_tokens=60)
    assert isinstance(completion.choices[0].message.parsed, Mood)


def test_json_object_is_json(api: OpenAI, renderer: Renderer) -> None:
    # Any object would do, also an endless one: the bias makes it a short one.
    bias = {str(renderer.encode(sign)[0]): weight for sign, weight in (('"', 100), ("}", 90), (":", 90))}
    completion = ask(api, response_format={"type": "json_object"}, logit_bias=bias, max_tokens=100)
    assert completion.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(text(completion)), dict)


def test_structured_outputs_regex_is_matched(api: OpenAI) -> None:
    pattern = r"[a-c]{3}-[0-9]{2}"
    completion = ask(api, extra_body={"structured_outputs": {"regex": pattern}}, max_tokens=40)
    assert re.fullmatch(pattern, text(completion))


def test_structured_outputs_choice_is_one_of_them(api: OpenAI) -> None:
    completion = ask(api, extra_body={"structured_outputs": {"choice": ["aye", "nay"]}}, max_tokens=20)
    assert text(completion) in ("aye", "nay")


def test_every_choice_keeps_to_the_constraint(api: OpenAI) -> None:
    completion = ask(api, n=3, extra_body={"structured_outputs": {"choice": ["aye", "nay"]}}, max_tokens=20)
    assert {text(completion, index) for index in range(3)} <= {"aye", "nay"}


def test_structured_outputs_json_is_followed(api: OpenAI) -> None:
    completion = ask(api, extra_body={"structured_outputs": {"json": MOOD}}, max_tokens=100)
    jsonschema.validate(json.loads(text(completion)), MOOD)


def test_streamed_json_schema_is_followed(api: OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "mood", "schema": MOOD}}
    jsonschema.validate(json.loads(spoken(stream(api, response_format=form, max_tokens=100))), MOOD)
