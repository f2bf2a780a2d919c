"""What vLLM says of a request that goes on, as chunks of ours."""

from typing import TYPE_CHECKING

from models.engine import Chunk, FinishReason, TokenLogprob

if TYPE_CHECKING:
    from vllm.outputs import CompletionOutput

LOWEST_LOGPROB = -9999.0
_FINISH_REASONS: dict[str, FinishReason] = {"stop": "stop", "length": "length", "repetition": "stop"}


def build_chunk(choice: "CompletionOutput", cached_tokens: int, top_logprobs: int | None) -> Chunk:
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
