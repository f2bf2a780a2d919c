"""What was said, in pieces that can be remembered: whole sentences, none longer than an embedding model reads well."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from characters.profile import one_line

PASSAGE_CHARACTERS = 320
# More of a single message isn't remembered word for word.
MOST_PASSAGES = 12
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\"'”’»*]*\s+|(?<=[。！？])")


@dataclass(frozen=True, slots=True)
class Said:
    """Who said what. `id` is the message's."""

    id: str
    speaker: str
    text: str


def passages(exchange: Sequence[Said]) -> list[str]:
    """An exchange as texts that each name who speaks: one where it is short, else each message in pieces."""
    pieces = [[f"{said.speaker}: {piece}" for piece in split(said.text)] for said in exchange]
    whole = " / ".join(piece for parts in pieces for piece in parts)
    if len(whole) <= PASSAGE_CHARACTERS:
        return [whole] if whole else []
    return [piece for parts in pieces for piece in parts]


def split(text: str) -> list[str]:
    """At most MOST_PASSAGES pieces of a text, from its beginning, each on a line of its own."""
    sentences = [one_line(sentence) for sentence in _SENTENCE_END.split(text[: 2 * MOST_PASSAGES * PASSAGE_CHARACTERS])]
    pieces: list[str] = []
    for sentence in sentences:
        if not sentence:
            continue
        if pieces and len(pieces[-1]) + 1 + len(sentence) <= PASSAGE_CHARACTERS:
            pieces[-1] = f"{pieces[-1]} {sentence}"
        else:
            pieces += _wrapped(sentence)
    return list(islice(pieces, MOST_PASSAGES))


def _wrapped(sentence: str) -> list[str]:
    """A sentence that is longer than a passage, cut between words where it has any."""
    pieces: list[str] = []
    while len(sentence) > PASSAGE_CHARACTERS:
        at = sentence.rfind(" ", PASSAGE_CHARACTERS // 2, PASSAGE_CHARACTERS)
        at = PASSAGE_CHARACTERS if at < 0 else at
        pieces.append(sentence[:at].strip())
        sentence = sentence[at:].strip()
    return [*pieces, sentence]
