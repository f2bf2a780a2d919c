"""A text of any length read for who somebody in it is: piece by piece, each one's profile made of the one before.

As CharacterGPT does it (arXiv 2405.19778): the profile so far stands in the prompt beside the next piece, and the reply
is the next version of it.
"""

import re
from collections.abc import Iterable
from functools import partial

from characters.profile import LABELS, SYNTHESIS_LENGTHS, Profile

from models.renderer import Renderer, Turn
from models.synthesis.form import BOUNDS, alphabets_for, fit_form
from models.synthesis.profiles import build_profile_turns

# Of a larger piece a model takes up too little.
MOST_PIECE_TOKENS = 4096
# What a piece has of the context at least, and the profile so far of the longest one, when the form is chosen.
PIECE_SHARE, KNOWN_SHARE = 1 / 8, 1 / 4
# A profile that leaves a piece less than this is shown with values of so many characters.
LEAST_PIECE_TOKENS = 256
SHORTENED = (80, 40, 20)
# Only for the first piece; from then on it is known.
CHARACTERS_A_TOKEN = 4.0

_SENTENCE_END = re.compile(r"""[.!?…]["'”’»)\]]*(?=\s)|[。！？]|\n""")


class NameMissing(ValueError):
    """Nobody in the text is called so."""


class Reading:
    """How far a text has been read, and the profile by then.

    Use: until `done`, answer `ask()` in `form`, and `learn` what was written. Pieces end where sentences do.
    """

    def __init__(self, renderer: Renderer, max_model_len: int, text: str, name: str) -> None:
        """Raises NameMissing, and ProfileTooLong when the context is too small for a piece and two profiles."""
        if not _is_named(name, text):
            raise NameMissing(f"the text names no {name!r}")
        self.profile = Profile(name=name)
        self.read = 0
        self._renderer = renderer
        self._context = max_model_len
        self._text = text.strip()
        self._at = self._piece_characters = 0
        self._characters_a_token = CHARACTERS_A_TOKEN
        fit = partial(fit_form, {"name": self.profile.name}, max_model_len=max_model_len, bounds=BOUNDS)
        around = self._around(self._introduce(SYNTHESIS_LENGTHS.values().__len__()))
        self.form = fit
