"""Macros that a card repeats, nests or feeds to one another: none takes long, none grows without end."""

import time

import pytest

from characters.calls import Context
from characters.macros import MAX_DEPTH, MAX_MACROS, MAX_WRITTEN, expand


@pytest.mark.parametrize(("depth", "replaced"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_macros_too_deep_stay(depth: int, replaced: bool) -> None:
    told = expand("{{reverse:" * depth + "x" + "}}" * depth, {})
    assert (told == "x") is replaced
    assert "x" in told


def test_macros_beyond_the_limit_stay() -> None:
    assert expand("{{newline}}" * (MAX_MACROS + 2), {}) == "\n" * MAX_MACROS + "{{newline}}" * 2


@pytest.mark.parametrize(
    "text",
    [
        "{{" * 200_000,
        "}}" * 200_000,
        "{{a" * 100_000 + "}}" * 100_000,
        "{{char}}" * 60_000,
        "{{random:a,b}}" * 20_000,
        "{{setvar::a::xxxx}}" + "{{addvar::a::{{getvar::a}}}}" * 5_000,
        "\n" * 200_000 + "{{trim}}" * 20_000,
        "{{roll:100d6}}" * 20_000,
    ],
)
def test_no_text_takes_long_or_grows_without_end(text: str) -> None:
    context = Context(seed="seed")
    began = time.process_time()
    told = expand(text, {"char": "x" * 10_000}, context)
    assert time.process_time() - began < 5
    assert len(told) <= len(text) + MAX_WRITTEN
    assert sum(map(len, context.variables.values())) <= len(text) + MAX_WRITTEN
