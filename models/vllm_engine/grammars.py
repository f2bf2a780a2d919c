"""What vLLM makes of a constraint, and whether in time: found out before its engine is asked."""

import asyncio
from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from models.engine import Constraint, EngineError, InvalidRequest
from models.trials import NoPlaceError, Trials

if TYPE_CHECKING:
    import vllm
    from vllm.lora.request import LoRARequest
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend

# How many constraints are tried at a time, and how many are remembered.
PLACES, MOST_KNOWN = 2, 1024
UNFIT = "the engine can't follow this constraint: simplify the schema or the regular expression"


class Grammars:
    """Makes grammars of constraints beside the event loop, before the engine does.

    The engine has one thread for it on a small machine: a grammar that takes minutes would keep all others waiting.
    """

    def __init__(self, llm: "AsyncLLM", compile_s: float) -> None:
        from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend
        from vllm.v1.structured_output.request import get_structured_output_key

        self._llm = llm
        self._key = get_structured_output_key
        self._backend = cache(
            lambda: XgrammarBackend(llm.vllm_config, llm.get_tokenizer(), llm.model_config.get_vocab_size())
        )
        self._trials = Trials(PLACES, compile_s)
        self._known: dict[bytes, None] = {}

    async def check(
        self,
        constraint: Constraint,
        request_id: str,
        prompt: Any,
        params: "vllm.SamplingParams",
        priority: int,
        lora: "LoRARequest | None",
    ) -> Any:
        """The request in vLLM's terms, whose constraint is known to compile in time. Raises InvalidRequest.

        vLLM 0.32 takes such a request under protest (it is to go some day), and checks all others on the event loop.
        """
        tasks = await self._llm.get_supported_tasks()
        process = self._llm.input_processor.process_inputs
        prepare = partial(process, request_id, prompt, params, tasks, lora_request=lora, priority=priority)
        key = sha256(repr(constraint).encode()).digest()
        if key in self._known:
            return await asyncio.to_thread(prepare)
        try:
            backend = await asyncio.to_thread(self._backend)
            request = await self._trials.run(partial(self._compile, backend, prepare))
        except TimeoutError:
            raise InvalidRequest(
                f"the constraint takes more than {self._trials.limit_s:.0f} s to compile: "
                "simplify the schema or the regular expression"
            ) from None
        except NoPlaceError:
            raise EngineError("other constraints are being compiled: try again") from None
        self._known[key] = None
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]
        return request

    def _compile(self, backend: "XgrammarBackend", prepare: Callable[[], Any]) -> Any:
        request = prepare()
        try:
            backend.compile_grammar(*self._key(request.sampling_params.structured_outputs))
        except Exception as error:
            raise InvalidRequest(UNFIT) from error
        return request
