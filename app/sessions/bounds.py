"""Texts that no prompt could hold are refused before a second of the event loop is spent on their tokens."""

from collections.abc import Iterator, Sequence

from app.errors import ContextLengthError
from models.renderer import Renderer, Segment, Turn

# More than this a token doesn't hold, but for runs of white space.
MOST_CHARACTERS_A_TOKEN = 32


class BoundedRenderer:
    """A renderer for a context of `max_model_len` tokens, whose `encode` raises ContextLengthError for such texts."""

    def __init__(self, renderer: Renderer, max_model_len: int) -> None:
        self._renderer = renderer
        self._max_model_len = max_model_len
        self.fingerprint = renderer.fingerprint
        self.stop_token_ids = renderer.stop_token_ids
        self.vocabulary = renderer.vocabulary

    def check_length(self, *texts: str) -> None:
        """Raise ContextLengthError when `texts` together are too long for any prompt."""
        characters = sum(map(len, texts))
        if characters > MOST_CHARACTERS_A_TOKEN * self._max_model_len:
            raise ContextLengthError(
                f"{characters} characters can't fit into a context of {self._max_model_len} tokens", param="messages"
            )

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`; of one that is too long, more than the context has."""
        if len(text) > MOST_CHARACTERS_A_TOKEN * self._max_model_len:
            return self._max_model_len + 1
        return len(self._renderer.encode(text))

    def encode(self, text: str) -> list[int]:
        self.check_length(text)
        return self._renderer.encode(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        return self._renderer.decode(token_ids)

    def segments(self, turns: Sequence[Turn]) -> Iterator[Segment]:
        return self._renderer.segments(turns)

    def render(self, turns: Sequence[Turn]) -> list[int]:
        return self._renderer.render(turns)
