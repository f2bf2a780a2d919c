"""What a request is in vLLM's terms, and what its errors are called, whichever release runs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from models.engine import Constraint, SamplingParams
from models.renderer import Renderer

if TYPE_CHECKING:
    import vllm

# A loop: so few tokens, so many times in a row. Nobody laughs for longer.
LOOP_TOKENS, LOOP_TIMES = 8, 16


class Sampling:
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


def _control_characters(renderer: Renderer) -> list[int]:
    """The tokens with a control character in them, but for line ends, which no grammar's string holds."""
    texts = (renderer.decode([token]) for token in range(renderer.vocabulary))
    return [token for token, text in enumerate(texts) if min(text, default=" ") < " " and not set(text) & {"\n", "\r"}]
