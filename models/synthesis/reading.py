"""A text of any length read for who somebody in it is: piece by piece, each one's profile made of the one before.

As CharacterGPT does it: the profile so far stands in the prompt with the next piece, and the reply is its next version.
"""

import re
from collections.abc import Collection
from math import ceil

from characters.profile import MAX_NAME, SYNTHESIS_LENGTHS, Profile, one_line

from models.renderer import Renderer, Turn
from models.synthesis.form import BOUNDS, alphabets_for, fit_form
from models.synthesis.manuscript import Manuscript
from models.synthesis.profile_prompt import build_profile_turns

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


class NothingToLearn(ValueError):
    """Every field of the profile says something that is to stay."""


class Reading:
    """How far a text has been read, and the profile by then.

    Until it is `done`, what `ask` returns is answered in `form`, and what was written is given to `learn`.
    """

    def __init__(
        self,
        renderer: Renderer,
        max_model_len: int,
        text: Manuscript,
        name: str,
        *,
        profile: Profile | None = None,
        kept: Collection[str] = (),
        at: int = 0,
        read: int = 0,
    ) -> None:
        """Reads for whom the text calls `name`, from the place `at` on, after `read` pieces.

        `profile` is what is known by then, of which the fields that are `kept` stay. Looks for the name in all of the
        text. Raises NameMissing, NothingToLearn, and ProfileTooLong when the context has no room for it.
        """
        profile = profile or Profile()
        self.profile = profile if profile.name else profile.model_copy(update={"name": one_line(name)[:MAX_NAME]})
        self.name = name
        self.read = read
        self._renderer = renderer
        self._max_model_len = max_model_len
        self._text = text
        self._asked, self._at = read, at
        self._latest = at // read if read else text.size
        self._characters_a_token = CHARACTERS_A_TOKEN
        self._check(kept)
        self.form = fit_form(
            {field: getattr(self.profile, field) for field in ("name", *kept)},
            len(renderer.render(self._lead(SHORTENED[0]))) + int(PIECE_SHARE * max_model_len),
            max_model_len,
            # What the text is written in, so that values are as long as they may be.
            alphabets=alphabets_for(text.sample)[-1:],
            bounds=BOUNDS,
            shown=KNOWN_SHARE,
        )

    @property
    def at(self) -> int:
        """The place up to which the text has been asked about."""
        return self._at

    @property
    def done(self) -> bool:
        """Whether the last piece has been asked about."""
        return self._at >= self._text.size

    @property
    def pieces(self) -> int:
        """How many pieces the text has: exact at the last one, before that as many as if all were like the latest."""
        return self._asked + ceil((self._text.size - self._at) / max(1, self._latest))

    def ask(self) -> list[Turn]:
        """The conversation about the next piece, which ends where a sentence does. Takes milliseconds, and a disk."""
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

    def _check(self, kept: Collection[str]) -> None:
        if SYNTHESIS_LENGTHS.keys() <= {"name", *kept}:
            raise NothingToLearn("every field of its profile says something already, and stays as it is")
        if not self._text.names(self.name):
            raise NameMissing(f"the text names no {self.name!r}")

    def _lead(self, longest: int | None = None) -> list[Turn]:
        """The conversation up to the piece; what is known is told in values of at most `longest` characters."""
        name = self.name
        values = self.profile.model_dump(include=SYNTHESIS_LENGTHS.keys() - {"name"}, exclude_defaults=True)
        known = Profile(**{field: value[:longest] for field, value in values.items()}).lines().replace("\n", "; ")
        told = (
            f"{name}. Known so far: {known}. A text goes on about {name}:" if known else f"{name}, of whom a text says:"
        )
        return build_profile_turns(self._renderer, told)

    def _take(self, room: int) -> list[int]:
        """The ids of the next piece: as many whole sentences as fit into `room` tokens, or part of one too long."""
        size = max(1, int(room * self._characters_a_token))
        text = self._text.part(self._at, size)
        whole = self._at + len(text.encode()) >= self._text.size
        size = len(text)
        while True:
            piece = text if whole and size == len(text) else _whole_sentences(text[:size])
            token_ids = self._renderer.encode(f" {piece.strip()}")
            if len(token_ids) <= room or size == 1:
                break
            size = max(1, min(size - 1, len(piece) * room // len(token_ids)))
        self._characters_a_token = len(piece) / len(token_ids)
        self._latest = len(piece.encode())
        self._at += self._latest
        self._asked += 1
        return token_ids


def _whole_sentences(text: str) -> str:
    """`text` up to the last end of a sentence in its second half, or all of it."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text, len(text) // 2)]
    return text[: ends[-1]] if ends else text
