"""Messages to token ids for a chat template, the same for serving and for training.

Content is encoded on its own, with special tokens read as plain text: only the renderer writes special tokens, so no
text from users, cards or clients can forge a turn. Content that already has ids (a stored or generated message) is
never encoded again. With the Llama-3 renderer each prompt is a prefix of the next one, whatever the content.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, Protocol

from jinja2.exceptions import TemplateError
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


class _TokenizerBase:
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


class Llama3Renderer(_TokenizerBase):
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


class TemplateRenderer(_TokenizerBase):
    """Any Hugging Face chat template: rendered around markers, then cut at them, so that content keeps its own ids.

    Where the template refuses a system message between turns, two turns of one role in a row or a first turn of the
    assistant's, system text is folded into the user's turn, neighbours are joined and an empty opening is added.
    """

    _OPENING = "(The conversation begins.)"

    def __init__(self, tokenizer: Any, fingerprint: str) -> None:
        """`tokenizer` is a transformers `PreTrainedTokenizerFast` with a chat template."""
        backend = tokenizer.backend_tokenizer
        ends = {tokenizer.eos_token_id} | {
            backend.token_to_id(token) for token in ("<|im_end|>", "<|eot_id|>", "<|end|>")
        }
        super().__init__(backend, fingerprint, sorted(end for end in ends if end is not None))
        self._glue = Tokenizer.from_str(backend.to_str())
        self._hf = tokenizer
        self._dialect = next((d for d in ("free", "strict", "no_system") if self._accepts(d)), None)
        if self._dialect is None:
            raise RenderError("the model's chat template can't render a conversation of system, user and assistant")

    def segments(self, turns: Sequence[Turn]) -> Iterator[Segment]:
        turns = self._normalize(turns, self._dialect or "free")
        pieces = self._pieces(turns, generate=False)
        for index, glue in enumerate(pieces):
            if index and turns[index - 1].role == "assistant" and glue and glue[0] in self.stop_token_ids:
                yield Segment(glue[:1], True)
                glue = glue[1:]
            yield Segment(glue)
            if index < len(turns):
                yield Segment(turns[index].token_ids, turns[index].role == "assistant")

    def render(self, turns: Sequence[Turn]) -> list[int]:
        turns = self._normalize(turns, self._dialect or "free")
        resume = bool(turns) and turns[-1].role == "assistant"
        pieces = self._pieces(turns, generate=not resume)
        if resume:
            pieces[-1] = []
        ids = list(pieces[0])
        for turn, glue in zip(turns, pieces[1:], strict=True):
            ids += [*turn.token_ids, *glue]
        return ids

    def _accepts(self, dialect: str) -> bool:
        roles: list[Role] = ["system", "assistant", "user", "user", "system", "user", "assistant", "user"]
        turns = [Turn(role, self.encode(str(number))) for number, role in enumerate(roles)]
        try:
            self._pieces(self._normalize(turns, dialect), generate=True)
        except RenderError:
            return False
        return True

    def _pieces(self, turns: Sequence[Turn], *, generate: bool) -> list[list[int]]:
        """The template's glue before, between and after the turns: `len(turns) + 1` lists of ids."""
        marks = [f"\ue000{number}\ue001" for number in range(len(turns))]
        messages = [{"role": turn.role, "content": mark} for turn, mark in zip(turns, marks, strict=True)]
        try:
            text: str = self._hf.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
        except TemplateError as error:
            raise RenderError(f"the model's chat template refuses this conversation: {error}") from error
        pieces = []
        for mark in marks:
            before, found, text = text.partition(mark)
            if not found:
                raise RenderError("the model's chat template drops a message")
            pieces.append(before)
        return [self._glue.encode(piece, add_special_tokens=False).ids for piece in (*pieces, text)]

    def _normalize(self, turns: Sequence[Turn], dialect: str) -> list[Turn]:
        if dialect == "free":
            return list(turns)
        blank = self.encode("\n\n")
        result: list[Turn] = []
        for turn in turns:
            keeps_system = dialect == "strict" and not result
            role: Role = "user" if turn.role == "system" and not keeps_system else turn.role
            if role == "assistant" and not any(earlier.role == "user" for earlier in result):
                result.append(Turn("user", self.encode(self._OPENING)))
            if result and result[-1].role == role:
                turn = Turn(role, [*result.pop().token_ids, *blank, *turn.token_ids])
            result.append(Turn(role, turn.token_ids))
        return result


def load_renderer(model: str) -> Renderer:
    """The renderer for a model folder or Hugging Face id. Raises RenderError when its tokenizer can't be used."""
    from transformers import AutoTokenizer  # takes seconds to import

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
    return TemplateRenderer(hf, fingerprint)


def _token_id(tokenizer: Tokenizer, token: str) -> int:
    token_id: int | None = tokenizer.token_to_id(token)
    if token_id is None:
        raise RenderError(f"the tokenizer lacks {token}, which the Llama-3 template needs")
    return token_id
