"""What vLLM is told of each request's priority: whatever is read ahead comes after every turn."""

from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from models.engine import BACKGROUND, TURN, SamplingParams
from models.renderer import Renderer
from models.vllm_engine import engine as vllm_engine
from models.vllm_engine.engine import VllmEngine
from models.vllm_engine.options import EngineOptions

pytestmark = pytest.mark.anyio


class NotingLLM:
    """Stands for vLLM, whose queue shows nobody its priorities: it notes them, and says nothing."""

    model_config = SimpleNamespace(max_model_len=2048)
    vllm_config = SimpleNamespace(scheduler_config=SimpleNamespace(enable_chunked_prefill=False))

    def __init__(self) -> None:
        self.priorities: list[int] = []
        self.prompts: list[list[int]] = []

    async def generate(self, prompt: list[int], *_: Any, priority: int, **__: Any) -> AsyncGenerator[Any]:
        self.priorities.append(priority)
        self.prompts.append(prompt)
        return
        yield


@pytest.fixture
def llm() -> NotingLLM:
    return NotingLLM()


@pytest.fixture
def engine(llm: NotingLLM, renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> VllmEngine:
    # They are vLLM's own, and nothing here is held to one.
    monkeypatch.setattr(vllm_engine, "Grammars", lambda *_: None)
    sampling: Any = SimpleNamespace(
        prompt=lambda ids, _salt: ids,
        params=lambda params: params,
        dead_error=(),
        client_errors=(),
        server_errors=(),
    )
    stand_in: Any = llm
    return VllmEngine(stand_in, sampling, EngineOptions("models/tiny"), renderer)


async def test_what_is_read_ahead_comes_after_turns(engine: VllmEngine, llm: NotingLLM) -> None:
    async for _ in engine.generate([1, 2, 3], SamplingParams(), request_id="a turn"):
        pass
    await engine.prefill([1] * 1000, request_id="ahead")
    turn, *ahead = llm.priorities
    assert turn == TURN < BACKGROUND
    assert {*ahead} == {BACKGROUND}


async def test_prompt_is_read_ahead_in_parts_from_what_is_known_on(engine: VllmEngine, llm: NotingLLM) -> None:
    await engine.prefill([1] * 1000, request_id="ahead")
    await engine.prefill([1] * 1000, request_id="again", known=700)
    await engine.prefill([1] * 1000, request_id="last", known=1000)
    assert [len(prompt) for prompt in llm.prompts] == [256, 512, 768, 1000, 768, 1000, 1000]
