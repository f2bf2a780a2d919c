"""Constraints that take long to check or to compile: nobody else waits for them, and they end."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.live import Live
from tests.refusals import ASK, CHAT, ask, assert_error, assert_error_body

# Its states are nearly all pairs of places in it: nine seconds on two cores.
SLOW = {"type": "string", "pattern": r"\w?" * 250}


def under(schema: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


# Checked in this process


@pytest.mark.anyio
async def test_big_schema_leaves_the_loop_to_others(live: Live) -> None:
    body = ASK | {"model": "lyra"} | under({"anyOf": [{}] * 8000})
    asked = time.perf_counter()
    request = asyncio.create_task(live.client.post(CHAT, json=body, timeout=60))
    longest = last = 0.0
    while not request.done():
        last = time.perf_counter()
        await asyncio.sleep(0.005)
        longest = max(longest, time.perf_counter() - last)
    assert request.result().status_code in (200, 400)
    assert longest < (last - asked) / 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"structured_outputs": {"choice": ["a" * 1000] * 40}}, "32768 characters"),
        ({"structured_outputs": {"regex": "a" * 2000}}, "1024 characters"),
        (under({"type": "string", "pattern": "a" * 2000}), "1024 characters"),
        (under({"anyOf": [{"type": "string", "pattern": "a" * 200}] * 6}), "1024 characters"),
        (under({"type": "object", "patternProperties": {"a" * 2000: {}}}), "1024 characters"),
        (under({"enum": ["a" * 1000] * 40}), "32768 bytes"),
    ],
    ids=["choice", "regex", "pattern", "patterns", "pattern properties", "enum"],
)
async def test_long_constraint_is_refused(live: Live, fields: dict[str, Any], most: str) -> None:
    answer = await live.client.post(CHAT, json=ASK | {"model": "lyra"} | fields)
    assert most in assert_error(answer, 400)


@pytest.mark.anyio
async def test_property_named_pattern_is_no_pattern(live: Live) -> None:
    schema = {"type": "object", "properties": {"pattern": {"type": "string"}, "patternProperties": {"enum": ["a"]}}}
    answer = await live.client.post(CHAT, json=ASK | {"model": "lyra"} | under(schema))
    assert answer.status_code == 200


# Compiled by the engine


def test_slow_grammar_is_given_up_and_holds_up_nobody(client: httpx.Client) -> None:
    longest = 0.0
    with ThreadPoolExecutor(1) as pool:
        request = pool.submit(ask, client, **under(SLOW))
        while not request.done():
            longest = max(longest, client.get("/health").elapsed.total_seconds())
    assert "to compile: simplify" in assert_error_body(request.result())["message"]
    assert request.result().elapsed.total_seconds() < 20
    assert longest < 1
    # The one that was given up still keeps a core busy.
    answer = ask(client, structured_outputs={"choice": ["aye", "nay"]}, max_tokens=20)
    assert answer.json()["choices"][0]["message"]["content"] in ("aye", "nay")
    assert answer.elapsed.total_seconds() < 10
