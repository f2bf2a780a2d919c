"""How to load a model: what is chosen here, and what vLLM is told of it in its environment and arguments."""

import os
from dataclasses import dataclass
from typing import Any


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
    compile_s: float = 2.0
    """How long a constraint may take to compile: little where anybody may send one."""
    max_lora_rank: int | None = None
    """None takes no adapters, which costs nothing; vLLM knows few ranks."""
    max_loras: int = 4
    max_cpu_loras: int = 16


def build_arguments(options: EngineOptions, *, on_cpu: bool, eager: bool, takes_adapters: bool) -> dict[str, Any]:
    """The fields of vLLM's AsyncEngineArgs that aren't left to its own choice."""
    arguments: dict[str, Any] = {
        "model": options.model,
        "max_model_len": options.max_model_len,
        "max_num_seqs": options.max_num_seqs,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "dtype": options.dtype,
        "load_format": options.load_format,
        "tensor_parallel_size": options.tensor_parallel_size,
        # Compiling takes half a minute at each start, and gains little on a tiny model.
        "enforce_eager": eager,
        # The CPU's own default of 128 tokens would leave up to 127 of a cached prompt to be read again.
        "block_size": options.block_size or (32 if on_cpu else None),
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
        **(_lora_arguments(options, spare=1 if on_cpu else 0) if takes_adapters else {}),
    }
    return {key: value for key, value in arguments.items() if value is not None}


def _lora_arguments(options: EngineOptions, *, spare: int) -> dict[str, Any]:
    return {
        "enable_lora": True,
        "max_lora_rank": options.max_lora_rank,
        "max_loras": options.max_loras + spare,
        "max_cpu_loras": options.max_cpu_loras + spare,
    }


def set_environment(options: EngineOptions) -> None:
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
