"""A text of any length read for who somebody in it is: piece by piece, each one's profile made of the one before.

As CharacterGPT does it: the profile so far stands in the prompt with the next piece, and the reply is its next version.
"""

import re
from math import ceil

from characters.profile import Profile

from models.renderer import Renderer, Turn
from models.synthesis.form import BOUNDS, alphabets_for, fit_form
from models.synthesis.profiles import build_profile_turns

# Of a longer piece a model takes up too little.
MOST_PIECE_TOKENS = 4096
# When the form is chosen: a piece's share of the context, and how much of the longest profile is known by then.
PIECE_SHARE, KNOWN_SHARE = 1 / 8, 1 / 4
# A profile that leaves a piece less than this is shown in values of so many characters.
LEAST_PIECE_TOKENS, SHORTENED = 256, (80, 40, 20, 10)
# For the first piece; from then on it is measured.
CHARACTERS_A_TOKEN = 4.0

_SENTENCE_END = re.compile(r"""[.!?…]["'”’»)\]]*(?=\s)|[。！？]""")


class NameMissing(ValueError):
    """Nobody in the text is called so."""


class Reading:
    """How far a text has been read, and the profile by then.

    Until it is `done`, what `ask` returns is answered in `form`, and what was written is given to `learn`.
    """

    def __init__(self, renderer: Renderer, max_model_len: int, text: str, name: str) -> None:
        """Takes 0.1 s for a megabyte. Raises NameMissing, and ProfileTooLong when the context has no room for it."""
        self.profile = Profile(name=name)
        self.read = 0
        self._renderer = renderer
        self._max_model_len = max_model_len
        self._text = " ".join(text.split())
        self._asked = self._at = 0
        self._latest = len(self._text)
        self._characters_a_token = CHARACTERS_A_TOKEN
        if not _is_named(self.profile.name, self._text):
            raise NameMissing(f"the text names no {self.profile.name!r}")
        self.form = fit_form(
            {"name": self.profile.name},
            len(renderer.render(self._lead())) + int(PIECE_SHARE * max_model_len),
            max_model_len,
            # What the text is written in, so that values are as long as they may be.
            alphabets=alphabets_for(self._text)[-1:],
            bounds=BOUNDS,
            shown=KNOWN_SHARE,
        )

    @property
    def done(self) -> bool:
        """Whether the last piece has been asked about."""
        return self._at == len(self._text)

    @property
    def pieces(self) -> int:
        """How many pieces the text has: exact at the last one, before that as many as if all were like the latest."""
        return self._asked + ceil((len(self._text) - self._at) / self._latest)

    def ask(self) -> list[Turn]:
        """The conversation about the next piece, which ends where a sentence does. Takes milliseconds."""
        for longest in (None, *SHORTENED):
            lead = self._lead(longest)
            room = self._max_model_len - self.form.longest_tokens - len(self._renderer.render(lead))
            if room >= LEAST_PIECE_TOKENS:
                break
        system, user = lead
        return [system, Turn("user", [*user.token_ids, *self._take(min(room, MOST_PIECE_TOKENS))])]

    def learn(self, written: dict[str, str]) -> list[str]:
        """Take over the next version of the profile. Returns the fields that have changed."""
        changed = [field for field, value in written.items() if value != getattr(self.profile, field)]
        self.profile = self.profile.model_copy(update=written)
        self.read += 1
        return changed

    def _lead(self, longest: int | None = None) -> list[Turn]:
        """The conversation up to the piece; what is known is told in values of at most `longest` characters."""
        name = self.profile.name
        values = self.profile.model_dump(exclude={"name"}, exclude_defaults=True)
        known = Profile(**{field: value[:longest] for field, value in values.items()}).lines().replace("\n", "; ")
        told = (
            f"{name}. Known so far: {known}. A text goes on about {name}:" if known else f"{name}, of whom a text says:"
        )
        return build_profile_turns(self._renderer, told)

    def _take(self, room: int) -> list[int]:
        """The ids of the next piece: as many whole sentences as fit into `room` tokens, or part of one too long."""
        rest = len(self._text) - self._at
        size = min(rest, max(1, int(room * self._characters_a_token)))
        while True:
            piece = self._text[self._at : self._at + size]
            piece = piece if size == rest else _whole_sentences(piece)
            token_ids = self._renderer.encode(f" {piece.strip()}")
            if len(token_ids) <= room or size == 1:
                break
            size = max(1, min(size - 1, len(piece) * room // len(token_ids)))
        self._characters_a_token = len(piece) / len(token_ids)
        self._latest = len(piece)
        self._at += len(piece)
        self._asked += 1
        return token_ids


def _whole_sentences(text: str) -> str:
    """`text` up to the last end of a sentence in its second half, or all of it."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text, len(text) // 2)]
    return text[: ends[-1]] if ends else text


def _is_named(name: str, text: str) -> bool:
    """Whether the name, or a word of it, stands in the text, in capitals or not."""
    if name.lower() == name.upper() and name in text:  # many scripts without capitals have no spaces, either
        return True
    words = "|".join(re.escape(word) for word in name.casefold().split())
    return re.search(rf"(?<!\w)(?:{words})(?!\w)", text.casefold()) is not None
