"""What a card says in a field, and how its character says the same of themself."""

import re
from dataclasses import dataclass

from models.synthesis.grammar import capitalize

Shape = str
_MARK = re.compile(r"\[(\w+)\]")
PRONOUNS = {
    "she": {"s": "she", "o": "her", "p": "her", "f": "herself"},
    "he": {"s": "he", "o": "him", "p": "his", "f": "himself"},
    "they": {"s": "they", "o": "them", "p": "their", "f": "themselves"},
    "I": {"s": "I", "o": "me", "p": "my", "f": "myself"},
}
_VERBS = {"is": ("is", "are", "am"), "was": ("was", "were", "was"), "has": ("has", "have", "have")}


@dataclass(frozen=True, slots=True)
class Value:
    """A field of a character: `card` is what the card says, `spoken` what the character says of it.

    `spoken` begins with a small letter unless a name or `I` opens it; `shape` picks the frame of an answer.
    """

    card: str
    spoken: str
    shape: Shape = ""

    @property
    def short(self) -> str:
        """What is said before the first comma, full stop or colon: of a friend, the name."""
        return re.split(r"[,.:]", self.spoken)[0]


def inflect(text: str, person: str) -> str:
    """`text` with its marks ([s], [p], [has] …) put into the person of `she`, `he`, `they` or `I`."""

    def replace(match: re.Match[str]) -> str:
        mark: str = match[1]
        if mark.lower() in "sopf":
            word = PRONOUNS[person][mark.lower()]
            return capitalize(word) if mark.isupper() else word
        singular, plural, first = _VERBS.get(mark, (mark, mark.removesuffix("s"), mark.removesuffix("s")))
        return plural if person == "they" else first if person == "I" else singular

    return _MARK.sub(replace, text)
