"""Sampling fields that nobody should send: each is refused by name, or does no harm."""

import json
from typing import Any

import httpx
import pytest

from tests.refusals import ask, assert_error, assert_error_body

pytestmark = pytest.mark.usefixtures("engine_lives_on")


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1_000_000},
        {"n": 0},
        {"n": -1},
        {"n": "many"},
        {"n": 1.5},
        {"max_tokens": 0},
        {"max_tokens": -1},
        {"max_tokens": "many"},
        {"max_tokens": 2**70},
        {"max_completion_tokens": 0},
        {"min_tokens": 3},
        {"min_tokens": -1},
        {"temperature": "nan"},
        {"temperature": "inf"},
        {"temperature": "-1"},
        {"temperature": -0.1},
        {"temperature": 1e308},
        {"temperature": [1]},
        {"top_p": "nan"},
        {"top_p": 2},
        {"top_p": -1},
        {"top_k": -2},
        {"top_k": 2**80},
        {"min_p": "nan"},
        {"min_p": 2},
        {"presence_penalty": "nan"},
        {"presence_penalty": 100},
        {"frequency_penalty": -100},
        {"repetition_penalty": 0},
        {"repetition_penalty": "inf"},
        {"seed": 2**63},
        {"seed": -(2**64)},
        {"seed": "a"},
        {"stop": [f"stop {number}" for number in range(5000)]},
        {"stop": ["a" * 10_000]},
        {"stop": "a" * 10_000},
        {"stop": [1]},
        {"stop": {"a": 1}},
        {"top_logprobs": 1000},
        {"top_logprobs": -1},
        {"logprobs": "all"},
        {"stream": "maybe"},
        {"stream_options": "all"},
        {"response_format": "json"},
        {"response_format": {"type": "xml"}},
        {"response_format": {}},
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)
def test_bad_sampling_field_is_refused_by_name(client: httpx.Client, fields: dict[str, Any]) -> None:
    error = assert_error_body(ask(client, **fields))
    assert next(iter(fields)) in f"{error['param']} {error['message']}"


@pytest.mark.parametrize("stream", [False, True])
def test_bad_sampling_in_a_session_leaves_it_as_it_was(client: httpx.Client, stream: bool) -> None:
    session = client.post("/sessions", json={"character_id": "lyra"}).json()["id"]
    path = f"/sessions/{session}/messages"
    regex = {"structured_outputs": {"regex": "["}}
    for fields in ({"n": 1_000_000}, {"temperature": "nan"}, {"min_tokens": 10**9}, regex):
        assert_error(client.post(path, json={"content": "Hello.", "stream": stream, **fields}), 400)
    assert [message["role"] for message in client.get(path).json()["messages"]] == ["assistant"]
    assert client.post(path, json={"content": "Hello.", "max_tokens": 2}).json()["version"] == 2


@pytest.mark.parametrize(
    "bias",
    [
        {"a": 1},
        {"-1": 1},
        {"": 1},
        {"1.5": 1},
        {"9" * 5000: 1},
        {"٣": 1},
        {"99999999999999999999": 1},
        {"1": 1e300},
        {"1": -1e300},
        {"7": 0},
    ],
    ids=lambda bias: json.dumps(bias)[:30],
)
def test_odd_bias_is_harmless(client: httpx.Client, bias: dict[str, float]) -> None:
    assert ask(client, logit_bias=bias).status_code == 200


@pytest.mark.parametrize(
    "bias",
    [[], "none", {"1": "much"}, {"1": None}, {"1": {}}, {str(number): 1 for number in range(2000)}],
    ids=lambda bias: json.dumps(bias)[:30],
)
def test_bad_bias_is_refused(client: httpx.Client, bias: Any) -> None:
    assert "logit_bias" in assert_error_body(ask(client, logit_bias=bias))["param"]
