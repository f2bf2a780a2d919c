"""Grammars that nobody should send: refused, or followed without harm."""

import json
from typing import Any

import httpx
import pytest

from tests.refusals import ask, assert_error, assert_error_body

pytestmark = pytest.mark.usefixtures("engine_lives_on")


@pytest.mark.parametrize(
    "regex",
    [
        "[",
        "(",
        ")",
        "\\",
        "a{2,1}",
        "*",
        "(?<=a)b",
        r"(a)\1",
        "(?P<x",
        "a" * 5000,
        "(" * 2000 + "a" + ")" * 2000,
        1,
        [],
    ],
    ids=lambda regex: repr(regex)[:20],
)
def test_bad_regex_is_refused(client: httpx.Client, regex: Any) -> None:
    assert_error(ask(client, structured_outputs={"regex": regex}), 400)


@pytest.mark.parametrize(
    "regex",
    ["(a|aa)+$", "^(([a-z])+.)+[A-Z]", "(a{1000}){1000}", "a{1000000}", "(.*)*(.*)*x", "(a?){50}a{50}"],
)
def test_greedy_regex_does_no_harm(client: httpx.Client, regex: str) -> None:
    answer = ask(client, structured_outputs={"regex": regex}, max_tokens=8)
    assert answer.status_code in (200, 400)
    assert answer.elapsed.total_seconds() < 20


def nested(depth: int) -> dict[str, Any]:
    """A schema of objects in objects; each takes two levels of the body."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def branching(depth: int) -> dict[str, Any]:
    """A schema of 2 ** depth ways to say null."""
    twice = {f"d{step}": {"anyOf": [{"$ref": f"#/$defs/d{step + 1}"}] * 2} for step in range(depth)}
    return {"$defs": {**twice, f"d{depth}": {"type": "null"}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"type": 1},
        {"properties": []},
        {"required": "a"},
        {"type": "string", "pattern": "["},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"enum": []},
        {"anyOf": []},
        {"type": "string", "maxLength": -1},
        {"enum": ["x" * 100] * 400},
        nested(100),
        "schema",
        [],
        None,
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)
def test_bad_schema_is_refused(client: httpx.Client, schema: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert_error(ask(client, response_format=form), 400)


@pytest.mark.parametrize(
    "schema",
    [
        nested(25),
        branching(30),
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"type": "string", "maxLength": 10**9},
        {"type": "string", "minLength": 10**6},
        {"type": "array", "items": {"type": "string"}, "minItems": 10**6},
        {"type": "string", "pattern": "(a{1000}){1000}"},
        {"type": "string", "pattern": "^(([a-z])+.)+[A-Z]$"},
        {"type": "integer", "minimum": -(10**18), "maximum": 10**18},
        {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(500)}},
        {"enum": [f"x{number}" for number in range(2000)]},
        {"not": {}},
        {"$ref": "http://example.com/schema"},
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)
def test_absurd_schema_does_no_harm(client: httpx.Client, schema: dict[str, Any]) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = ask(client, response_format=form, max_tokens=8)
    assert answer.status_code in (200, 400)
    assert answer.elapsed.total_seconds() < 20


@pytest.mark.parametrize(
    "outputs",
    [{}, {"choice": []}, {"choice": [1]}, {"choice": "a"}, {"regex": "a", "choice": ["a"]}, {"json": "a"}, [], "a"],
    ids=json.dumps,
)
def test_bad_structured_outputs_are_refused(client: httpx.Client, outputs: Any) -> None:
    assert "structured_outputs" in assert_error_body(ask(client, structured_outputs=outputs))["param"]


def test_grammar_error_is_one_plain_line(client: httpx.Client) -> None:
    message = assert_error(ask(client, structured_outputs={"regex": "["}), 400)
    assert ".cc:" not in message
    assert "Unclosed '['" in message
    assert len(message.splitlines()) == 1
