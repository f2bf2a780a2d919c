"""Messages to token ids for a chat template, the same for serving and for training.

Content is encoded on its own, with special tokens read as plain text: only the renderer writes special tokens, so no
text from users, cards or clients can forge a turn. Content that already has ids (a stored or generated message) is
never encoded again. With the Llama-3 renderer each prompt is a prefix of the next one, whatever the content.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, Protocol

from tokenizers import Tokenizer

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as the ids of its content, without the template's glue around it."""

    role: Role
    token_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of ids of a rendered conversation; `is_reply` marks what the model itself writes (the loss mask)."""

    token_ids: Sequence[int]
    is_reply: bool = False


class RenderError(ValueError):
    """The chat template can't express this conversation, or the tokenizer can't be used."""


class Renderer(Protocol):
    """Turns to prompt ids, for one model."""

    fingerprint: str
    """Names vocabulary and template: stored ids are valid only under the same fingerprint."""
    stop_token_ids: Sequence[int]
    """Ids that end a reply."""
    vocabulary: int
    """How many ids there are."""

    def encode(self, text: str) -> list[int]:
        """Ids of `text` as plain content; never a special token."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of `token_ids`, special tokens as they are written."""

    def segments(self, turns: Sequence[Turn]) -> Iterator[Segment]:
        """The whole conversation, every turn closed: what training reads. Raises RenderError."""

    def render(self, turns: Sequence[Turn]) -> list[int]:
        """Prompt ids that ask for the next reply; a last turn of the assistant's is left open, to be continued.

        Raises RenderError.
        """


class ContentTokenizer:
    """Encoding and decoding of content, over one `tokenizers.Tokenizer` of its own."""

    def __init__(self, tokenizer: Tokenizer, fingerprint: str, stop_token_ids: Sequence[int]) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.fingerprint = fingerprint
        self.stop_token_ids = stop_token_ids
        self.vocabulary: int = tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=False)
        return text


class Llama3Renderer(ContentTokenizer):
    """Meta's Llama-3 template, written in ids. `render(turns)` costs one list concatenation."""

    def __init__(self, tokenizer: Tokenizer, fingerprint: str) -> None:
        end = _token_id(tokenizer, "<|eot_id|>")
        super().__init__(tokenizer, fingerprint, (end, _token_id(tokenizer, "<|end_of_text|>")))
        start, stop = _token_id(tokenizer, "<|start_header_id|>"), _token_id(tokenizer, "<|end_header_id|>")
        blank = self.encode("\n\n")
        self._begin = [_token_id(tokenizer, "<|begin_of_text|>")]
        self._end = [end]
        self._headers = {role: [start, *self.encode(role), stop, *blank] for role in ("system", "user", "assistant")}

    def segments(self, turns: Sequence[Turn]) -> Iterator[Segment]:
        yield Segment(self._begin)
        for turn in turns:
            yield Segment(self._headers[turn.role])
            yield Segment(turn.token_ids, turn.role == "assistant")
            yield Segment(self._end, turn.role == "assistant")

    def render(self, turns: Sequence[Turn]) -> list[int]:
        ids = list(chain.from_iterable(segment.token_ids for segment in self.segments(turns)))
        if turns and turns[-1].role == "assistant":
            return ids[: -len(self._end)]
        return ids + self._headers["assistant"]


def load_renderer(model: str) -> Renderer:
    """The renderer for a model folder or Hugging Face id. Raises RenderError when its tokenizer can't be used."""
    from transformers import AutoTokenizer, GenerationConfig  # takes seconds to import

    from models.template import TemplateRenderer  # which imports this module

    hf = AutoTokenizer.from_pretrained(model)
    if not hf.is_fast:
        raise RenderError(f"{model} has no fast tokenizer (tokenizer.json)")
    if not hf.chat_template:
        raise RenderError(f"{model} has no chat template: pick an instruction-tuned model")
    backend = hf.backend_tokenizer
    fingerprint = hashlib.sha256((backend.to_str() + str(hf.chat_template)).encode()).hexdigest()[:16]
    # By the template, not the vocabulary: fine-tunes of Llama 3 often speak ChatML.
    if "<|start_header_id|>" in str(hf.chat_template):
        return Llama3Renderer(backend, fingerprint)
    try:
        eos = GenerationConfig.from_pretrained(model).eos_token_id
    except OSError:  # a model without one
        eos = None
    return TemplateRenderer(hf, fingerprint, eos if isinstance(eos, list) else [] if eos is None else [eos])


def _token_id(tokenizer: Tokenizer, token: str) -> int:
    token_id: int | None = tokenizer.token_to_id(token)
    if token_id is None:
        raise RenderError(f"the tokenizer lacks {token}, which the Llama-3 template needs")
    return token_id
