"""What was said, in pieces that can be remembered: whole sentences, none longer than an embedding model reads well."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from characters.profile import one_line

PASSAGE_CHARACTERS = 320
# More of a single message isn't remembered word for word.
MOST_PASSAGES = 12
# Of a memory, how many of its sentences are looked for one by one, the first ones.
MOST_SENTENCES = 7
# Between the messages of an exchange, and before each of them.
_NEXT = " / "
_SPEAKER = re.compile(r"\A[^:]{1,60}: ")
_FIRST_PERSON = re.compile(r"\b(?:i|me|my|mine|myself|we|us|our|ours|ourselves)\b", re.IGNORECASE)
# What has fewer words can't be understood without what was said around it.
FEW_WORDS = 4
_QUESTION = ("?", "？", '?"', "?*")
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
    whole = _NEXT.join(piece for parts in pieces for piece in parts)
    if len(whole) <= PASSAGE_CHARACTERS:
        return [whole] if whole else []
    return [piece for parts in pieces for piece in parts]


def aspects(memory: str) -> list[str]:
    """A memory's text, and each of its sentences by itself, without who says it and without what only asks."""
    telling = dict.fromkeys(sentence for part in memory.split(_NEXT) for sentence in _telling(part))
    return [memory, *islice((sentence for sentence in telling if sentence != memory), MOST_SENTENCES)]


def is_own(text: str) -> bool:
    """Whether a text is of the one who says it: in English; in other languages none is."""
    return _FIRST_PERSON.search(text) is not None


def tells_of_self(memory: str) -> bool:
    """Whether who speaks first in a memory tells something of their own."""
    return any(map(is_own, _telling(memory.partition(_NEXT)[0])))


def asked(text: str) -> str:
    """What a message looks up: its questions, without what is said around them; all of it where it asks little."""
    questions = " ".join(part for part in _SENTENCE_END.split(text) if part and part.rstrip().endswith(_QUESTION))
    return questions if len(questions.split()) >= FEW_WORDS else text


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


def _telling(said: str) -> list[str]:
    """The sentences of what somebody said that don't only ask."""
    sentences = (sentence.strip() for sentence in _SENTENCE_END.split(_SPEAKER.sub("", said, count=1)))
    return [one for one in sentences if not one.endswith(_QUESTION) and any(map(str.isalnum, one))]


def _wrapped(sentence: str) -> list[str]:
    """A sentence that is longer than a passage, cut between words where it has any."""
    pieces: list[str] = []
    while len(sentence) > PASSAGE_CHARACTERS:
        at = sentence.rfind(" ", PASSAGE_CHARACTERS // 2, PASSAGE_CHARACTERS)
        at = PASSAGE_CHARACTERS if at < 0 else at
        pieces.append(sentence[:at].strip())
        sentence = sentence[at:].strip()
    return [*pieces, sentence]
