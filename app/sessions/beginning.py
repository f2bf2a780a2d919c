"""Words that a reply begins with before anything is generated: those of lore that stands where the reply does."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from models.engine import Chunk, SamplingParams


@dataclass(frozen=True, slots=True)
class Beginning:
    """The words and their ids, with which the prompt ends. They are a part of the reply, as whatever follows them."""

    text: str
    token_ids: Sequence[int]

    async def lead(self, chunks: AsyncGenerator[Chunk]) -> AsyncGenerator[Chunk]:
        """`chunks` with the words before what each choice says first. Closing it closes them."""
        begun: set[int] = set()
        async with aclosing(chunks):
            async for chunk in chunks:
                if chunk.index in begun:
                    yield chunk
                    continue
                begun.add(chunk.index)
                yield replace(chunk, text=self.text + chunk.text, token_ids=[*self.token_ids, *chunk.token_ids])


NO_WORDS = Beginning("", ())


def going_on(params: SamplingParams) -> SamplingParams:
    """For a reply that is continued: its end may have been a stop token, which would follow again at once."""
    return replace(params, min_tokens=max(params.min_tokens, 1))
