"""How a line of a scene begins: its heading stands in the prompt, and a model may say that again, or somebody else's.

The speaker's own name is left out. A line that begins with another's, or that says nothing, is asked for once more, its
first token none of theirs; what says nothing then has said nothing.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from models.engine import Chunk, SamplingParams, TokenLogprob
from models.stage import announcement

Encode = Callable[[str], Sequence[int]]
# What generates under those parameters, and what the request is called behind the turn's own id.
Generate = Callable[[SamplingParams, str], AsyncGenerator[Chunk]]

BANNED = -100.0


@dataclass(frozen=True, slots=True)
class Introduction:
    """What stands before the speaker's `own` lines and before all `others`', and the bias against theirs."""

    own: str
    others: Sequence[str]
    bias: Mapping[int, float]

    async def lead(self, generate: Generate, params: SamplingParams) -> AsyncGenerator[Chunk]:
        """What each choice says, from its first word on. Closing it closes what generates."""
        lines = [_Line(self, index) for index in range(params.n)]
        for attempt in ("", "-again"):
            async with aclosing(_hear(generate(params, attempt), lines)) as chunks:
                async for chunk in chunks:
                    yield chunk
            lines = [_Line(self, line.index) for line in lines if line.is_silent]
            if not lines:
                return
            params = replace(params, n=len(lines), logit_bias={**params.logit_bias, **self.bias})
        for line in lines:
            yield Chunk(line.index, "", (), "stop")


def build_introduction(speaker: str, names: Sequence[str], encode: Encode) -> Introduction:
    """Of the lines of `speaker`, one of the `names`."""
    own, others = announcement(speaker), [announcement(name) for name in names if name != speaker]
    banned = {encode(other)[0] for other in others} - {encode(own)[0]}
    return Introduction(own, others, dict.fromkeys(banned, BANNED))


@dataclass(slots=True)
class _Line:
    """One choice; what may yet be a name is held back."""

    introduction: Introduction
    index: int
    is_silent: bool = False
    is_named: bool = False
    has_begun: bool = False
    has_ended: bool = False
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)

    def hear(self, chunk: Chunk) -> Chunk | None:
        """What is told of it now."""
        self.has_ended = chunk.finish_reason is not None
        if self.has_begun:
            return replace(chunk, index=self.index)
        self.text += chunk.text
        self.token_ids += chunk.token_ids
        self.logprobs += chunk.logprobs
        said = self._read()
        ends_unsaid = not said and chunk.finish_reason == "stop"
        self.is_silent = ends_unsaid or said.startswith(tuple(self.introduction.others))
        if self.is_silent or not (self.has_ended or self._is_sure(said)):
            return None
        self.has_begun = True
        return replace(chunk, index=self.index, text=self.text, token_ids=self.token_ids, logprobs=self.logprobs)

    def _read(self) -> str:
        """What it says so far, its own name taken out. A line without it stays as it is, or its ids would be others."""
        said = self.text.lstrip()
        while said.startswith(self.introduction.own):
            said = said.removeprefix(self.introduction.own).lstrip()
            self.is_named = True
        if self.is_named:
            self.text = said
        return said

    def _is_sure(self, said: str) -> bool:
        names = [self.introduction.own, *self.introduction.others]
        return bool(said) and not any(name.startswith(said) for name in names)


async def _hear(chunks: AsyncGenerator[Chunk], lines: Sequence[_Line]) -> AsyncGenerator[Chunk]:
    """What the lines say, until none says more."""
    async with aclosing(chunks):
        async for chunk in chunks:
            line = lines[chunk.index]
            if not line.is_silent and (told := line.hear(chunk)):
                yield told
            if all(one.is_silent or one.has_ended for one in lines):
                return
