"""AsyncLLM in this process: the only file that imports vllm, and only when an engine is opened.

vLLM's scheduler and model run in a child process of their own; what runs here is the front end: ids in, deltas out.
Works on vLLM 0.26 to 0.32; the symbols used are few and documented.
"""

import asyncio
import logging
import os
import re
import signal
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from models.adapters import build_frame
from models.empty_adapter import write_empty_adapter
from models.engine import (
    BACKGROUND,
    TURN,
    Adapter,
    Chunk,
    Constraint,
    EngineDeadError,
    EngineError,
    FinishReason,
    Frame,
    InvalidRequest,
    SamplingParams,
    TokenLogprob,
)
from models.renderer import Renderer, load_renderer
from models.signals import unheard_by_children
from models.trials import NoPlaceError, Trials

if TYPE_CHECKING:
    import vllm
    from vllm.lora.request import LoRARequest
    from vllm.outputs import CompletionOutput
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.structured_output.backend_xgrammar import XgrammarBackend

logger = logging.getLogger(__name__)

_FINISH_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "repetition": "stop"}
# Where in its own sources xgrammar found the fault, which tells a client nothing.
_SOURCE_LINE = re.compile(r"\[[\d:]+\] \S+\.cc:\d+: ")
LOWEST_LOGPROB = -9999.0
# For the engine's processes to leave in good order, which takes them 2 to 4 s and saves nothing: they hold no state.
STOP_S = 1.0
# How long a constraint may take to compile, how many are tried at a time, and how many are remembered.
COMPILE_S, PLACES, MOST_KNOWN = 2.0, 2, 1024
UNFIT = "the engine can't follow this constraint: simplify the schema or the regular expression"
# A loop: so few tokens, so many times in a row. Nobody laughs for longer.
LOOP_TOKENS, LOOP_TIMES = 8, 16
UNHEARD = SamplingParams(max_tokens=1, temperature=0.0)
# What is read ahead in one step where vLLM can't read prompts in parts: whoever is being answered waits that long.
PART_TOKENS = 256
# vLLM's own adapters, with which it warms up, have the numbers from 1 on.
FIRST_LORA_ID = 1 << 20
# How vLLM ends a request that its engine gave up.
_FAILURES = ("abort", "error")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to load a model. None leaves vLLM's own choice; `cpu_` options matter on its CPU build alone."""

    model: str
    model_id: str | None = None
    max_model_len: int | None = None
    gpu_memory_utilization: float = 0.9
    max_num_seqs: int | None = None
    block_size: int | None = None
    dtype: str = "auto"
    load_format: str = "auto"
    enforce_eager: bool | None = None
    cpu_kv_cache_gib: int = 1
    tensor_parallel_size: int | None = None
    compile_s: float = COMPILE_S
    """How long a constraint may take to compile: little where anybody may send one."""
    max_lora_rank: int | None = None
    """None takes no adapters, which costs nothing; vLLM knows few ranks."""
    max_loras: int = 4
    max_cpu_loras: int = 16


class VllmEngine:
    """See `models.engine.Engine`. Made by `open_vllm_engine`, inside a running event loop."""

    def __init__(
        self,
        llm: "AsyncLLM",
        sampling: "_Sampling",
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
        self._grammars = _Grammars(llm, options.compile_s)
        self.frame = frame
        self._lora_ids = count(FIRST_LORA_ID)
        self._loras: dict[str, LoRARequest] = {}
        self._loaded: set[str] = set()
        self._empty: Adapter | None = None
        self._scratch: TemporaryDirectory[str] | None = None

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
        lora = self._lora(adapter)
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
                        yield _chunk(choice, cached, params.logprobs)
            finally:
                await stream.aclose()
        except self._sampling.dead_error as error:
            raise EngineDeadError("the inference engine has died") from error
        except self._sampling.client_errors as error:
            raise InvalidRequest(_SOURCE_LINE.sub("", str(error)).strip()) from error
        except self._sampling.server_errors as error:
            raise EngineError("the inference engine failed on this request") from error

    def _lora(self, adapter: Adapter | None) -> "LoRARequest | None":
        adapter = adapter or self._empty
        return self._loras[adapter.name] if adapter else None

    async def load_empty(self) -> None:
        """Have requests without an adapter go with one that changes nothing. Raises EngineError."""
        assert self.frame is not None
        self._scratch = TemporaryDirectory(prefix="opencharacter-", ignore_cleanup_errors=True)
        empty = write_empty_adapter(Path(self._scratch.name), self.frame)
        await self.load(empty)
        self._empty = empty

    async def load(self, adapter: Adapter) -> None:
        if adapter.name in self._loaded:
            return
        # One number for each, also where loading it is broken off and begun again.
        if adapter.name not in self._loras:
            request = self._sampling.lora(adapter.name, next(self._lora_ids), str(adapter.path))
            self._loras[adapter.name] = request
        try:
            if self._sampling.loads_beside:
                await self._llm.add_lora(self._loras[adapter.name])
        except self._sampling.dead_error as error:
            raise EngineDeadError("the inference engine has died") from error
        except Exception as error:  # vLLM raises whatever its worker met
            logger.warning("the adapter %s couldn't be loaded: %s", adapter.name, error)
            raise EngineError("the engine couldn't load it; the server's log says why") from error
        self._loaded.add(adapter.name)
        logger.info("loaded the adapter %s", adapter.name)

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
                lora_request=self._lora(adapter),
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
        if self._scratch is not None:
            self._scratch.cleanup()
        logger.info("the engine has stopped")


class _Sampling:
    """vLLM's names that are needed at each request, looked up once after its import."""

    def __init__(self, renderer: Renderer) -> None:
        from vllm import SamplingParams as VllmSamplingParams
        from vllm import __version_tuple__, exceptions
        from vllm.inputs import tokens_input
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
        from vllm.v1.engine.exceptions import EngineDeadError as VllmEngineDeadError
        from vllm.v1.engine.exceptions import EngineGenerateError

        self._stop_token_ids = list(renderer.stop_token_ids)
        self._no_control_characters = dict.fromkeys(_control_characters(renderer), -100.0)
        self._params = VllmSamplingParams
        self.lora: Callable[[str, int, str], LoRARequest] = LoRARequest
        # Before, what runs may go on with an adapter that is loaded beside it (vllm-project/vllm#47724): those releases
        # load one with the first request that has it.
        self.loads_beside = __version_tuple__[:2] >= (0, 32)
        self._takes_interval = "stream_interval" in VllmSamplingParams.__struct_fields__
        self._loop = self._build_loop()
        self._delta = RequestOutputKind.DELTA
        self._structured = StructuredOutputsParams
        self._tokens_input: Callable[..., Any] = tokens_input
        self.dead_error = VllmEngineDeadError
        # Releases before 0.30 raise plain ValueErrors for what a client did wrong.
        self.client_errors = (getattr(exceptions, "VLLMClientError", ValueError), ValueError)
        self.server_errors = (EngineGenerateError, getattr(exceptions, "VLLMServerError", EngineGenerateError))

    def prompt(
        self, token_ids: list[int], cache_salt: str | None
    ) -> Any:  # a vLLM TypedDict that moved between releases
        return self._tokens_input(token_ids, cache_salt=cache_salt)

    def params(self, params: SamplingParams) -> "vllm.SamplingParams":
        return self._params(
            n=params.n,
            max_tokens=params.max_tokens,
            min_tokens=params.min_tokens,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k,
            min_p=params.min_p,
            presence_penalty=params.presence_penalty,
            frequency_penalty=params.frequency_penalty,
            repetition_penalty=params.repetition_penalty,
            seed=params.seed,
            stop=list(params.stop) or None,
            stop_token_ids=None if params.ignore_eos else self._stop_token_ids,
            ignore_eos=params.ignore_eos,
            logprobs=params.logprobs,
            logit_bias=self._bias(params) or None,
            structured_outputs=self._constraint(params.constraint) if params.constraint else None,
            output_kind=self._delta,
            **self._interval(params.stream_interval),
            **(self._loop if params.ends_loops and not params.ignore_eos else {}),
            skip_clone=True,
        )

    def reading(self) -> "vllm.SamplingParams":
        """For a prompt whose own log-probabilities are asked for: vLLM has no request without a reply."""
        return self._params(
            max_tokens=1,
            temperature=0.0,
            prompt_logprobs=0,
            detokenize=False,
            output_kind=self._delta,
            skip_clone=True,
        )

    def _bias(self, params: SamplingParams) -> dict[int, float]:
        # xgrammar lets control characters, which JSON forbids, into strings whose length a schema bounds.
        under_schema = params.constraint is not None and params.constraint.json_schema is not None
        return dict(params.logit_bias) | (self._no_control_characters if under_schema else {})

    def _build_loop(self) -> dict[str, Any]:  # another field that older releases lack
        if "repetition_detection" not in self._params.__struct_fields__:
            return {}
        from vllm.sampling_params import RepetitionDetectionParams

        found = RepetitionDetectionParams(max_pattern_size=LOOP_TOKENS, min_pattern_size=1, min_count=LOOP_TIMES)
        return {"repetition_detection": found}

    def _interval(self, tokens: int) -> dict[str, Any]:  # a field that releases before 0.30 lack
        return {"stream_interval": tokens} if self._takes_interval else {}

    def _constraint(self, constraint: Constraint) -> Any:  # vLLM's dataclass, known only after its import
        return self._structured(
            json=dict(constraint.json_schema) if constraint.json_schema is not None else None,
            json_object=True if constraint.json_object else None,
            regex=constraint.regex,
            choice=list(constraint.choice) or None,
        )


class _Grammars:
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


def _control_characters(renderer: Renderer) -> list[int]:
    """The tokens with a control character in them, but for line ends, which no grammar's string holds."""
    texts = (renderer.decode([token]) for token in range(renderer.vocabulary))
    return [token for token, text in enumerate(texts) if min(text, default=" ") < " " and not set(text) & {"\n", "\r"}]


def _failure(params: SamplingParams) -> Exception:
    if params.constraint is not None:
        return InvalidRequest(UNFIT)
    return EngineError("the inference engine gave this request up")


def _chunk(choice: "CompletionOutput", cached_tokens: int, top_logprobs: int | None) -> Chunk:
    reason = choice.finish_reason
    return Chunk(
        choice.index,
        choice.text,
        choice.token_ids,
        None if reason is None else _FINISH_REASONS[reason],
        cached_tokens,
        () if top_logprobs is None else _logprobs(choice, top_logprobs),
    )


def _logprobs(choice: "CompletionOutput", top: int) -> list[TokenLogprob]:
    result = []
    for token_id, candidates in zip(choice.token_ids, choice.logprobs or (), strict=False):
        assert candidates is not None
        # What a constraint forbids has minus infinity, which JSON can't say.
        texts = {key: (item.decoded_token or "", max(item.logprob, LOWEST_LOGPROB)) for key, item in candidates.items()}
        token, logprob = texts[token_id]
        ranked = sorted(texts.values(), key=lambda pair: -pair[1])
        result.append(TokenLogprob(token, logprob, tuple(ranked[:top])))
    return result


async def open_vllm_engine(model: str, **options: Any) -> VllmEngine:  # the fields of EngineOptions
    """Load `model` (a folder or a Hugging Face id) and start its engine; seconds on tiny, minutes on 8B.

    Raises EngineError when the model can't be loaded, RenderError when its tokenizer can't be used.
    """
    chosen = EngineOptions(model, **options)
    try:
        renderer = await asyncio.to_thread(load_renderer, model)
    except (OSError, ValueError) as error:  # a wrong id, no network, a folder that holds no model
        raise EngineError(f"the model {model} can't be read: {error}") from error
    frame = await asyncio.to_thread(_read_frame, model, chosen.max_lora_rank) if chosen.max_lora_rank else None
    _set_environment(chosen)
    try:
        from vllm import __version__
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        hint = ": install it (`apt install libnuma1`)" if "libnuma" in str(error) else ""
        raise EngineError(f"vLLM can't be imported: {error}{hint}") from error

    on_cpu = current_platform.is_cpu()
    eager = on_cpu if chosen.enforce_eager is None else chosen.enforce_eager
    if eager:
        # Or the first request for logprobs would compile its kernel, 25 s in which nobody is answered.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    logger.info("loading %s with vLLM %s on %s", model, __version__, "the CPU" if on_cpu else "the GPU")
    arguments: dict[str, Any] = {
        "model": model,
        "max_model_len": chosen.max_model_len,
        "max_num_seqs": chosen.max_num_seqs,
        "gpu_memory_utilization": chosen.gpu_memory_utilization,
        "dtype": chosen.dtype,
        "load_format": chosen.load_format,
        "tensor_parallel_size": chosen.tensor_parallel_size,
        # Compiling takes half a minute at each start, and gains little on a tiny model.
        "enforce_eager": eager,
        # The CPU's own default of 128 tokens would leave up to 127 of a cached prompt to be read again.
        "block_size": chosen.block_size or (32 if on_cpu else None),
        # On a CPU a prompt that is read in parts kills the engine where the request has a seed: vLLM rewinds the
        # random generator, which torch's CPU generator can't (`Generator.get_offset`).
        "enable_chunked_prefill": False if on_cpu else None,
        "use_tqdm_on_load": False,
        "enable_prefix_caching": True,
        "scheduling_policy": "priority",
        "disable_log_stats": True,
        # A small model runs away with whitespace that a grammar allows.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        # Stop ids and defaults are ours: a model's generation_config must not change what a request asked for.
        "generation_config": "vllm",
        **(_lora_arguments(chosen, spare=1 if on_cpu else 0) if frame else {}),
    }
    try:
        chosen_arguments = AsyncEngineArgs(**{key: value for key, value in arguments.items() if value is not None})
        # The batch sizes that vLLM picks for a server.
        with unheard_by_children(signal.SIGINT):
            llm = AsyncLLM.from_engine_args(chosen_arguments, usage_context=UsageContext.OPENAI_API_SERVER)
    except Exception as error:  # vLLM raises whatever its child process met
        raise EngineError(f"the model {model} could not be loaded: {error}") from error
    engine = VllmEngine(llm, _Sampling(renderer), chosen, renderer, frame)
    if frame and on_cpu:
        await engine.load_empty()
    return engine


def _read_frame(model: str, most_rank: int) -> Frame:
    """What adapters of the model must fit. Raises EngineError."""
    from transformers import AutoConfig

    try:
        return build_frame(AutoConfig.from_pretrained(model).to_dict(), most_rank)
    except (OSError, ValueError) as error:
        raise EngineError(f"the model {model} can't be served with adapters: {error}") from error


def _lora_arguments(options: EngineOptions, *, spare: int) -> dict[str, Any]:
    return {
        "enable_lora": True,
        "max_lora_rank": options.max_lora_rank,
        "max_loras": options.max_loras + spare,
        "max_cpu_loras": options.max_cpu_loras + spare,
    }


def _set_environment(options: EngineOptions) -> None:
    """What vLLM reads from the environment at import; a value that the user has set is left alone."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(options.cpu_kv_cache_gib))
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    # Compiled grammars lie in two processes; vLLM's own limit is 512 MB in each.
    os.environ.setdefault("VLLM_XGRAMMAR_CACHE_MB", "128")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    # Where the start is broken off; `close` has its own.
    os.environ.setdefault("VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS", "1")
    # Python's own process that tidies up after the others would say so.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    # The engine takes a thread a core; from three cores on it leaves one to this process and its frames.
    if len(os.sched_getaffinity(0)) > 2:
        os.environ.setdefault("VLLM_CPU_NUM_OF_RESERVED_CPU", "1")
