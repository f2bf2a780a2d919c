"""Any model's own chat template as a renderer: what the template writes, with content as exact ids.

The template is rendered around markers and cut at them, so that nothing is known here of any one model: neither how it
opens a turn nor what ends a reply.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer

from models.renderer import ContentTokenizer, RenderError, Role, Segment, Turn


class TemplateRenderer(ContentTokenizer):
    """Any Hugging Face chat template: rendered around markers, then cut at them, so that content keeps its own ids.

    Where the template refuses a system message between turns, two turns of one role in a row or a first turn of the
    assistant's, system text is folded into the user's turn, neighbours are joined and an empty opening is added.
    """

    _OPENING = "(The conversation begins.)"

    def __init__(self, tokenizer: Any, fingerprint: str, eos_token_ids: Sequence[int] = ()) -> None:
        """`tokenizer` is a transformers `PreTrainedTokenizerFast` with a chat template.

        A reply ends with what the template puts after one, with the tokenizer's end or with one of `eos_token_ids`.
        """
        backend = tokenizer.backend_tokenizer
        super().__init__(backend, fingerprint, ())
        self._glue = Tokenizer.from_str(backend.to_str())
        self._markup = frozenset(backend.get_added_tokens_decoder())
        self._hf = tokenizer
        self._dialect = next((d for d in ("free", "strict", "no_system") if self._accepts(d)), None)
        if self._dialect is None:
            raise RenderError("the model's chat template can't render a conversation of system, user and assistant")
        own = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
        self.stop_token_ids = sorted({*self._ends(), *own, *eos_token_ids})

    def segments(self, turns: Sequence[Turn]) -> Iterator[Segment]:
        turns = self._normalize(turns, self._dialect or "free")
        pieces = self._pieces(turns, generate=False)
        for index, glue in enumerate(pieces):
            end = self._end(glue) if index and turns[index - 1].role == "assistant" else 0
            if end:
                yield Segment(glue[:end], True)
            yield Segment(glue[end:])
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

    def _ends(self) -> Iterator[int]:
        """What the template ends a reply with, between turns and at the very end, where that is a token of its own."""
        turns = [Turn("user", self.encode("0")), Turn("assistant", self.encode("1")), Turn("user", self.encode("2"))]
        glues = [self._pieces(turns, generate=True)[2]]
        with suppress(RenderError):  # some templates want the last word to be the user's
            glues.append(self._pieces(turns[:2], generate=False)[2])
        return (glue[end - 1] for glue in glues if (end := self._end(glue)))

    def _end(self, glue: Sequence[int]) -> int:
        """How many ids of the glue after a reply still belong to it: up to its first sign, if that is markup; or 0."""
        for index, token_id in enumerate(glue):
            if self.decode([token_id]).strip():
                return index + 1 if token_id in self._markup else 0
        return 0

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
