"""Profiles from one line: the schema keeps its bound and its word, and nothing invalid is ever saved."""

import json
import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from functools import lru_cache
from typing import Any

import pytest
import xgrammar
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from redis.asyncio import Redis
from transformers import AutoTokenizer

from characters.profile import LABELS, SYNTHESIS_LENGTHS, longest_profile_bytes, one_line, profile_json_schema
from models.engine import TURN, Adapter, Chunk, SamplingParams
from models.renderer import Renderer, load_renderer
from models.synthesis.form import ProfileTooLong
from models.synthesis.profile_prompt import build_profile_params, build_profile_turns, parse_profile
from tests.conftest import TINY
from tests.fake_engine import FakeEngine
from tests.live import Live, serve_live

CONTEXT = 4096
WIDEST = {2: "ß", 3: "鸟", 4: "🐟"}
every_alphabet = pytest.mark.parametrize("char_bytes", WIDEST)


@lru_cache
def compile_schema(char_bytes: int) -> Any:  # xgrammar publishes no types
    """The schema as the engine compiles it."""
    tokenizer = xgrammar.TokenizerInfo.from_huggingface(AutoTokenizer.from_pretrained(TINY), vocab_size=4096)
    compiler = xgrammar.GrammarCompiler(tokenizer)
    schema = json.dumps(profile_json_schema(char_bytes))
    return compiler.compile_json_schema(schema, any_whitespace=False, separators=(",", ":"))


def is_allowed(text: str, char_bytes: int) -> bool:
    """Whether the engine could write exactly this."""
    matcher = xgrammar.GrammarMatcher(compile_schema(char_bytes))
    return bool(matcher.accept_string(text) and matcher.is_completed())


def write(**changed: str) -> str:
    return json.dumps({**dict.fromkeys(LABELS, "x"), **changed}, ensure_ascii=False, separators=(",", ":"))


@every_alphabet
def test_longest_profile_is_as_long_as_said(char_bytes: int) -> None:
    longest = {field: WIDEST[char_bytes] * length for field, length in SYNTHESIS_LENGTHS.items()}
    assert is_allowed(write(**longest), char_bytes)
    assert len(write(**longest).encode()) == longest_profile_bytes(char_bytes)


@every_alphabet
@pytest.mark.parametrize("field", LABELS)
def test_no_value_is_longer_or_wider(char_bytes: int, field: str) -> None:
    assert not is_allowed(write(**{field: "x" * (SYNTHESIS_LENGTHS[field] + 1)}), char_bytes)
    wider = [char for width, char in WIDEST.items() if width > char_bytes]
    assert not any(is_allowed(write(**{field: char}), char_bytes) for char in wider)


@every_alphabet
@pytest.mark.parametrize("blank", ["", " ", "   ", "\u00a0", "\u3000", "\u200b", "\ufeff", "\t", "\x01", "\\n"])
def test_no_value_is_blank(char_bytes: int, blank: str) -> None:
    assert not is_allowed(write(goal=blank), char_bytes)
    assert is_allowed(write(goal="a  b "), char_bytes)


@every_alphabet
def test_whatever_begins_a_value_can_be_seen(char_bytes: int) -> None:
    pattern = re.compile(profile_json_schema(char_bytes)["properties"]["goal"]["pattern"])
    for char in map(chr, range(sys.maxunicode + 1)):
        if pattern.match(char):
            assert one_line(char) == char
            assert len(char.encode()) <= char_bytes
            assert char not in '"\\'


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_schema_is_read_alike_by_engine_and_validator(text: str) -> None:
    validator = Draft202012Validator(profile_json_schema(4))
    said = write(age=text)
    if '"' in text or "\\" in text or not text.isprintable():
        return  # JSON would escape them, which is another text
    assert is_allowed(said, 4) == validator.is_valid(json.loads(said))


@given(st.integers(1, CONTEXT), st.integers(256, 131_072))
def test_profile_has_room_for_its_longest_or_is_refused(prompt_tokens: int, max_model_len: int) -> None:
    if prompt_tokens + longest_profile_bytes(2) + 1 > max_model_len:
        both = f"{prompt_tokens} tokens and a profile up to {longest_profile_bytes(2) + 1}"
        with pytest.raises(ProfileTooLong, match=both):
            build_profile_params(prompt_tokens, max_model_len, temperature=1.0, seed=1)
        return
    params = build_profile_params(prompt_tokens, max_model_len, temperature=1.0, seed=1)
    assert params.max_tokens is not None
    assert prompt_tokens + params.max_tokens <= max_model_len
    [char_bytes] = [n for n in WIDEST if params.max_tokens == longest_profile_bytes(n) + 1]
    assert params.constraint is not None
    assert params.constraint.json_schema == profile_json_schema(char_bytes)


def test_small_context_takes_a_persona_of_one_line(renderer: Renderer) -> None:
    for persona in ("A cynical detective with a penchant for jazz music", "Стареющая балерина из Перми"):
        prompt = renderer.render(build_profile_turns(renderer, persona))
        assert build_profile_params(len(prompt), CONTEXT, temperature=1.0, seed=None).max_tokens


@pytest.mark.parametrize("field", LABELS)
@pytest.mark.parametrize("blank", ["", " \t", "\u3000"])
def test_profile_with_a_blank_is_refused(field: str, blank: str) -> None:
    assert parse_profile(write())
    with pytest.raises(ValueError, match=field):
        parse_profile(write(**{field: blank}))


class Author(FakeEngine):
    """Writes `reply`, whatever it is asked for."""

    reply = ""
    asked: SamplingParams | None = None

    async def generate(
        self,
        prompt_token_ids: list[int],
        params: SamplingParams,
        *,
        request_id: str,
        cache_salt: str | None = None,
        priority: int = TURN,
        adapter: Adapter | None = None,
    ) -> AsyncGenerator[Chunk]:
        self.asked = params
        yield Chunk(0, self.reply, self.renderer.encode(self.reply), "stop")


@pytest.fixture
async def live(redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    async with serve_live(Author(load_renderer(str(TINY)), max_model_len=CONTEXT), redis_url) as running:
        yield running


async def synthesize(live: Live, reply: str, persona: str = "A baker", **fields: Any) -> Any:
    """The answer to a synthesis for which the engine writes `reply`."""
    assert isinstance(live.engine, Author)
    live.engine.reply = reply
    return await live.client.post("/characters/synthesize", json={"persona": persona, **fields})


async def names(live: Live) -> list[str]:
    listed = (await live.client.get("/characters", params={"limit": 200})).json()
    return [character["data"]["name"] for character in listed["characters"]]


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "reply", ["", "word", "{}", write()[:-1], write(goal=" "), write(name=""), write(likes="\u3000"), f"[{write()}]"]
)
async def test_reply_that_is_no_profile_is_an_error_and_not_saved(live: Live, reply: str, stream: bool) -> None:
    before = await names(live)
    answer = await synthesize(live, reply, stream=stream)
    *_, last = [line for line in answer.text.splitlines() if line and line != "data: [DONE]"]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "synthesis_failed"
    assert answer.status_code == (200 if stream else 500)
    assert await names(live) == before


@pytest.mark.anyio
async def test_profile_is_asked_for_with_room_for_the_longest(live: Live) -> None:
    answer = await synthesize(live, write(name="Odo"))
    assert answer.status_code == 201
    assert isinstance(live.engine, Author)
    assert live.engine.asked is not None
    assert live.engine.asked.max_tokens == longest_profile_bytes(2) + 1


@pytest.mark.anyio
async def test_persona_too_long_for_the_context_is_refused_with_both_numbers(live: Live) -> None:
    persona = "🐟" * 1000
    prompt = live.engine.renderer.render(build_profile_turns(live.engine.renderer, persona))
    answer = await synthesize(live, write(), persona)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "persona")
    assert f"{len(prompt)} tokens" in error["message"]
    assert str(longest_profile_bytes(2) + 1) in error["message"]
    assert str(CONTEXT) in error["message"]
