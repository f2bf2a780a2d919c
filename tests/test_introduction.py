"""How a line of a scene begins: with its speaker's own words, whatever the model writes before them."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from app.sessions.introduction import build_introduction
from models.engine import Chunk, SamplingParams

pytestmark = pytest.mark.anyio
NAMES = ["Ann Lee", "Ann", "Ben", "Dora"]


def encode(text: str) -> list[int]:
    return [ord(char) for char in text]


class Speaking:
    """Says one text after another, `size` letters a chunk, and knows what it was asked."""

    def __init__(self, texts: Sequence[str], size: int) -> None:
        self.left = list(texts)
        self.size = size
        self.asked: list[tuple[SamplingParams, str]] = []
        self.open = 0

    async def generate(self, params: SamplingParams, attempt: str) -> AsyncGenerator[Chunk]:
        self.asked.append((params, attempt))
        texts = [self.left.pop(0) for _ in range(params.n)]
        self.open += 1
        try:
            for at in range(0, max(map(len, texts)), self.size):
                for index, text in enumerate(texts):
                    if piece := text[at : at + self.size]:
                        yield Chunk(index, piece, encode(piece))
            for index in range(params.n):
                yield Chunk(index, "", [0], "stop")
        finally:
            self.open -= 1


async def hear(speaking: Speaking, n: int = 1) -> list[str]:
    introduction = build_introduction("Ann Lee", NAMES, encode)
    told = [""] * n
    ended = [0] * n
    async for chunk in introduction.lead(speaking.generate, SamplingParams(n=n)):
        told[chunk.index] += chunk.text
        ended[chunk.index] += chunk.finish_reason is not None
    assert ended == [1] * n
    assert speaking.open == 0
    return told


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (["Well met."], "Well met."),
        ([" Well met."], " Well met."),
        (["Ann Lee: Well met."], "Well met."),
        (["\n Ann Lee:\n\nWell met."], "Well met."),
        (["Ann Lee: Ann Lee: Well met."], "Well met."),
        (["Ben: Well met.", "I am Ann."], "I am Ann."),
        (["Ann: Well met.", "I am Ann."], "I am Ann."),
        (["Dora:\nHello?", "I am Ann."], "I am Ann."),
        (["Ann Lee: Ben: Well met.", "I am Ann."], "I am Ann."),
        (["", "I am Ann."], "I am Ann."),
        (["Ann Lee:", "I am Ann."], "I am Ann."),
        (["Ben: Well met.", "Dora: Well met."], ""),
        (["Ben"], "Ben"),
        (["Ann Lee"], "Ann Lee"),
        (["Bending over, Ben: a sight."], "Bending over, Ben: a sight."),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 50])
async def test_line_is_its_speakers_own(says: list[str], told: str, size: int) -> None:
    speaking = Speaking(says, size)
    assert await hear(speaking) == [told]
    assert not speaking.left


async def test_words_are_told_as_soon_as_they_are_no_name() -> None:
    introduction = build_introduction("Ann Lee", NAMES, encode)
    chunks = [chunk.text async for chunk in introduction.lead(Speaking(["Berlin."], 1).generate, SamplingParams())]
    assert chunks == ["Ber", "l", "i", "n", ".", ""]


async def test_those_who_spoke_for_another_are_asked_again_alone() -> None:
    speaking = Speaking(["One.", "Ben: Two.", "Dora: Three.", "Four.", "Five."], 3)
    assert await hear(speaking, n=3) == ["One.", "Four.", "Five."]
    (_, first), (params, second) = speaking.asked
    assert (first, second, params.n) == ("", "-again", 2)
    # None of those with whom the others' names begin, but the speaker's own may.
    assert params.logit_bias == {ord("B"): -100.0, ord("D"): -100.0}


async def test_ids_are_all_that_were_generated() -> None:
    introduction = build_introduction("Ann Lee", NAMES, encode)
    lead = introduction.lead(Speaking(["Ann Lee: Yes."], 2).generate, SamplingParams())
    assert [token async for chunk in lead for token in chunk.token_ids] == [*encode("Ann Lee: Yes."), 0]


async def test_closing_it_closes_the_engine() -> None:
    speaking = Speaking(["Well met."], 1)
    lead = build_introduction("Ann Lee", NAMES, encode).lead(speaking.generate, SamplingParams())
    await anext(lead)
    assert speaking.open == 1
    await lead.aclose()
    assert speaking.open == 0
