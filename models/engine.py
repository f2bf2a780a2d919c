"""What an engine is: prompt ids in, chunks of text and ids out. Knows nothing of characters, sessions or HTTP."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from models.renderer import Renderer

FinishReason = Literal["stop", "length"]

# Priorities of requests: somebody waits for a turn, nobody for what is done ahead of one or after it.
TURN, BACKGROUND = 0, 10


class EngineError(Exception):
    """The engine failed on this request; others go on."""


class EngineDeadError(EngineError):
    """The engine is gone and doesn't come back: every request ends, and the process should exit."""


class InvalidRequest(ValueError):
    """The engine refuses these parameters; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA to generate with. Others have other names; what lies in the folder `path` is never changed."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Frame:
    """What an adapter must fit: the shape (out, in) of each module of a layer by its name, the layers, the rank.

    It is read from the model's configuration, and holds the modules that can be adapted.
    """

    modules: Mapping[str, tuple[int, int]]
    layers: int
    most_rank: int


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the reply must look like: one of a JSON schema, any JSON object, a regular expression, or a choice."""

    json_schema: Mapping[str, Any] | None = None
    json_object: bool = False
    regex: str | None = None
    choice: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to sample, in OpenAI's and vLLM's terms. `top_k` 0 is off, `logprobs` counts alternatives.

    `max_tokens` None goes on until the context is full.
    """

    max_tokens: int | None = None
    min_tokens: int = 0
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    constraint: Constraint | None = None
    ends_loops: bool = False
    """End a reply that says the same few tokens over and over; an engine that can't do it goes on."""
    stream_interval: int = 1
    """Tokens a chunk, after the first one; an engine that can't do it sends one at a time."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token of the reply with its log-probability, and the likeliest alternatives, best first."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(slots=True)
class Chunk:
    """What choice `index` said since its last chunk. `token_ids` end with the stop token where there was one."""

    index: int
    text: str
    token_ids: Sequence[int]
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    logprobs: Sequence[TokenLogprob] = ()


class Engine(Protocol):
    """One model, ready to generate.

    `generate` yields until every choice has a finish reason. Closing the generator, or cancelling its task, aborts the
    request in the engine. It raises InvalidRequest before the first chunk, EngineError or EngineDeadError at any time.
    An `adapter` is one that was loaded, None the model as it is.
    """

    model: str
    """What was loaded: a folder or a hub id."""
    model_id: str
    """What clients call it."""
    max_model_len: int
    renderer: Renderer
    frame: Frame | None
    """None where the engine takes no adapters."""

    def generate(
        self,
        prompt_token_ids: list[int],
        params: SamplingParams,
        *,
        request_id: str,
        cache_salt: str | None = None,
        priority: int = TURN,
        adapter: Adapter | None = None,
    ) -> AsyncGenerator[Chunk]:
        """Stream the reply to a prompt. `cache_salt` keeps one tenant's prefix cache from being seen by another.

        Requests that wait are begun by their `priority`, lower ones first; an engine that can't do it goes by time.
        """

    async def load(self, adapter: Adapter) -> None:
        """Make an adapter ready; one that was loaded already is left alone.

        It was checked against `frame`. Raises EngineError where the engine can't use it all the same.
        """

    async def prefill(
        self,
        prompt_token_ids: list[int],
        *,
        request_id: str,
        cache_salt: str | None = None,
        adapter: Adapter | None = None,
        known: int = 0,
    ) -> int:
        """Read a prompt into the cache, when no turn waits. Returns how many of its tokens weren't there already.

        The first `known` tokens are likely to be. Cancelled, it is aborted. Raises as `generate` does.
        """

    async def score(
        self,
        prompt_token_ids: list[int],
        continuation_ids: Sequence[int],
        *,
        request_id: str,
        adapter: Adapter | None = None,
    ) -> float:
        """How likely the model, or the adapter, goes on from a prompt with just these ids: a log-probability, in nats.

        The prompt is read anew, whatever is cached of it. Cancelled, it is aborted. Raises as `generate` does.
        """

    def error(self) -> Exception | None:
        """Why the engine is dead, or None while it lives."""

    async def close(self) -> None:
        """Abort what runs and free the engine."""
