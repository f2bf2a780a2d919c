"""Requests to vLLM: what is sent, what comes back, and what is raised where nothing does."""

import logging
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, cast

from models.engine import (
    BACKGROUND,
    TURN,
    Adapter,
    Chunk,
    EngineDeadError,
    EngineError,
    Frame,
    InvalidRequest,
    SamplingParams,
)
from models.renderer import Renderer
from models.vllm_engine.chunks import LOWEST_LOGPROB, build_chunk
from models.vllm_engine.grammars import UNFIT, Grammars
from models.vllm_engine.loras import Loras
from models.vllm_engine.options import EngineOptions
from models.vllm_engine.sampling import Sampling

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

logger = logging.getLogger(__name__)

# Where in its own sources xgrammar found the fault, which tells a client nothing.
_SOURCE_LINE = re.compile(r"\[[\d:]+\] \S+\.cc:\d+: ")
# For the engine's processes to leave in good order, which takes them 2 to 4 s and saves nothing: they hold no state.
STOP_S = 1.0
UNHEARD = SamplingParams(max_tokens=1, temperature=0.0)
# What is read ahead in one step where vLLM can't read prompts in parts: whoever is being answered waits that long.
PART_TOKENS = 256
# How vLLM ends a request that its engine gave up.
_FAILURES = ("abort", "error")


class VllmEngine:
    """See `models.engine.Engine`. Made by `open_vllm_engine`, inside a running event loop."""

    def __init__(
        self,
        llm: "AsyncLLM",
        sampling: Sampling,
        options: EngineOptions,
        renderer: Renderer,
        frame: Frame | None = None,
    ) -> None:
        self.model = options.model
        self.model_id = options.model_id or Path(options.model).name
        self.renderer = renderer
        self.max_model_len: int = llm.model_config.max_model_len
        self._reads_parts = bool(llm.vllm_config.scheduler_config.enable_chunked_prefill)
        self._llm = llm
        self._sampling = sampling
        self._grammars = Grammars(llm, options.compile_s)
        self.frame = frame
        self._loras = Loras(llm, sampling)

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
        lora = self._loras.request(adapter)
        prompt = self._sampling.prompt(prompt_token_ids, cache_salt)
        try:
            vllm_params = self._sampling.params(params)
            if params.constraint is not None:
                prompt = await self._grammars.check(params.constraint, request_id, prompt, vllm_params, priority, lora)
            stream = self._llm.generate(prompt, vllm_params, request_id, lora_request=lora, priority=priority)
            try:
                async for output in stream:
                    cached = output.num_cached_tokens or 0
                    for choice in output.outputs:
                        if choice.finish_reason in _FAILURES:
                            raise _failure(params)
                        yield build_chunk(choice, cached, params.logprobs)
            finally:
                await stream.aclose()
        except self._sampling.dead_error as error:
            raise EngineDeadError("the inference engine has died") from error
        except self._sampling.client_errors as error:
            raise InvalidRequest(_SOURCE_LINE.sub("", str(error)).strip()) from error
        except self._sampling.server_errors as error:
            raise EngineError("the inference engine failed on this request") from error

    async def load_empty(self) -> None:
        """Have requests without an adapter go with one that changes nothing. Raises EngineError."""
        assert self.frame is not None
        await self._loras.load_empty(self.frame)

    async def load(self, adapter: Adapter) -> None:
        await self._loras.load(adapter)

    async def prefill(
        self,
        prompt_token_ids: list[int],
        *,
        request_id: str,
        cache_salt: str | None = None,
        adapter: Adapter | None = None,
        known: int = 0,
    ) -> int:
        total, computed = len(prompt_token_ids), 0
        # Parts end where blocks do, or the next one would read the last block of the one before again.
        begun = total if self._reads_parts else known // PART_TOKENS * PART_TOKENS
        for end in [*range(begun + PART_TOKENS, total, PART_TOKENS), total]:
            # vLLM has no request without a reply: one token, of which nothing is kept.
            chunks = self.generate(
                prompt_token_ids[:end],
                UNHEARD,
                request_id=f"{request_id}-{end}",
                cache_salt=cache_salt,
                priority=BACKGROUND,
                adapter=adapter,
            )
            async with aclosing(chunks):
                computed += end - max([chunk.cached_tokens async for chunk in chunks], default=0)
        return computed

    def error(self) -> Exception | None:
        return cast(Exception, self._llm.dead_error) if self._llm.errored else None

    async def score(
        self,
        prompt_token_ids: list[int],
        continuation_ids: Sequence[int],
        *,
        request_id: str,
        adapter: Adapter | None = None,
    ) -> float:
        if not continuation_ids:
            return 0.0
        read = [*prompt_token_ids, *continuation_ids]
        try:
            stream = self._llm.generate(
                self._sampling.prompt(read, None),
                self._sampling.reading(),
                request_id,
                lora_request=self._loras.request(adapter),
            )
            async with aclosing(stream):
                told = [entry async for output in stream for entry in output.prompt_logprobs or ()]
        except self._sampling.dead_error as error:
            raise EngineDeadError("the inference engine has died") from error
        except self._sampling.client_errors as error:
            raise InvalidRequest(str(error)) from error
        except self._sampling.server_errors as error:
            raise EngineError("the inference engine failed on this request") from error
        if len(told) != len(read):
            raise EngineError("the inference engine gave this request up")
        scored = zip(continuation_ids, told[-len(continuation_ids) :], strict=True)
        return sum(max(entry[token].logprob, LOWEST_LOGPROB) if entry else 0.0 for token, entry in scored)

    async def close(self) -> None:
        # Blocks for a moment, on purpose: the loop must not see the engine's child go while it still expects it.
        self._llm.shutdown(timeout=STOP_S)
        # Its finalizer would do it again, in an interpreter half gone.
        vars(self._llm)["shutdown"] = lambda: None
        self._loras.close()
        logger.info("the engine has stopped")


def _failure(params: SamplingParams) -> Exception:
    if params.constraint is not None:
        return InvalidRequest(UNFIT)
    return EngineError("the inference engine gave this request up")
