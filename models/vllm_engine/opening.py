"""From a model's name to an engine that runs: its tokenizer, vLLM's import, the weights."""

import asyncio
import logging
import os
import signal
from typing import Any

from models.adapters import build_frame
from models.engine import EngineError, Frame
from models.renderer import load_renderer
from models.signals import unheard_by_children
from models.vllm_engine.engine import VllmEngine
from models.vllm_engine.options import EngineOptions, build_arguments, set_environment
from models.vllm_engine.sampling import Sampling

logger = logging.getLogger(__name__)


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
    set_environment(chosen)
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
    try:
        arguments = AsyncEngineArgs(**build_arguments(chosen, on_cpu=on_cpu, eager=eager, takes_adapters=bool(frame)))
        # The batch sizes that vLLM picks for a server.
        with unheard_by_children(signal.SIGINT):
            llm = AsyncLLM.from_engine_args(arguments, usage_context=UsageContext.OPENAI_API_SERVER)
    except Exception as error:  # vLLM raises whatever its child process met
        raise EngineError(f"the model {model} could not be loaded: {error}") from error
    engine = VllmEngine(llm, Sampling(renderer), chosen, renderer, frame)
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
