"""Which teacher to open, as plain values that travel to other machines."""

from dataclasses import dataclass, field
from typing import Any

from models.engine import EngineError
from models.renderer import RenderError
from models.synthesis.teachers.local import LocalTeacher
from models.synthesis.teachers.remote import RemoteTeacher
from models.synthesis.teachers.teacher import Stop, Teacher
from models.vllm_engine.opening import open_vllm_engine

# The few schemas here are ours: that of a profile takes 3 s on a machine that has just begun.
COMPILE_S = 300.0


@dataclass(frozen=True, slots=True)
class TeacherOptions:
    """A model to load here, or with a `url` the name of one behind it."""

    model: str
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    max_model_len: int | None = None
    timeout_s: float = 300.0
    attempts: int = 6
    concurrency: int = 256
    gpus: int = 1


async def open_teacher(options: TeacherOptions) -> Teacher:
    """Load it, or make ready to ask it. Raises Stop."""
    if options.url:
        context = {"max_model_len": options.max_model_len} if options.max_model_len else {}
        return RemoteTeacher(
            options.url.rstrip("/"),
            options.model,
            api_key=options.api_key,
            timeout_s=options.timeout_s,
            attempts=options.attempts,
            **context,
        )
    chosen: dict[str, Any] = {
        "max_model_len": options.max_model_len,
        "max_num_seqs": options.concurrency,
        "compile_s": COMPILE_S,
        "tensor_parallel_size": options.gpus if options.gpus > 1 else None,
    }
    try:
        return LocalTeacher(await open_vllm_engine(options.model, **chosen))
    except (EngineError, RenderError) as error:
        raise Stop(str(error)) from error
