"""What a synthesis may be asked for: one source, and how to write from it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.errors import InvalidRequestError, clipped
from characters.profile import MAX_NOTE, MAX_NOTES, SYNTHESIS_LENGTHS
from models.engine import SamplingParams
from models.synthesis.form import Form

MOST_VARIATIONS = 8
TEMPERATURE = 0.8

Source = Literal["persona", "quotes", "card", "character_id", "text"]
SOURCES: tuple[Source, ...] = ("persona", "quotes", "card", "character_id", "text")
CARDS: tuple[Source, ...] = ("card", "character_id")


class SynthesisRequest(BaseModel):
    """One source, and how to write from it; the same `seed` writes the same character. Null is absent.

    A `text` may be read for the character of `character_id`, or for a new one.
    """

    model_config = ConfigDict(extra="allow")

    persona: str | None = Field(None, min_length=1, max_length=1000)
    quotes: list[Annotated[str, Field(max_length=MAX_NOTE)]] | None = Field(None, min_length=1, max_length=MAX_NOTES)
    card: dict[str, Any] | None = Field(
        None, description="As in POST /characters, with an `id` or not; its name may be missing, too."
    )
    character_id: str | None = None
    text: str | None = Field(None, description="A chapter, say. A longer one is sent as the body itself.")
    name: str | None = Field(
        None, min_length=1, max_length=SYNTHESIS_LENGTHS["name"], description="Who it is; for a text, whom it names."
    )
    complete: bool | None = Field(None, description="Fill what profile and greeting lack, and change nothing else.")
    revise: bool | None = Field(None, description="Let a text change what the character's profile says already.")
    n: int | None = Field(None, ge=1, le=MOST_VARIATIONS)
    seed: int | None = Field(None, ge=0, lt=2**63)
    temperature: float | None = Field(None, ge=0, le=2)
    dry_run: bool | None = None
    stream: bool | None = None

    def check(self) -> Source:
        """The source that was given. Raises InvalidRequestError for what doesn't go together, or says nothing."""
        source = self._source()
        self._check_text()
        if source in CARDS:
            self._check_card(source)
        elif self.complete:
            raise InvalidRequestError(f"`complete` is for a card, not for `{source}`", param="complete")
        if source == "text" and self.name is None and self.character_id is None:
            raise InvalidRequestError("`text` needs the `name` of whom to look for in it", param="name")
        if self.revise and (source != "text" or self.character_id is None):
            raise InvalidRequestError("`revise` is for a `text` that is read for a `character_id`", param="revise")
        self._check_variations()
        return source

    def params(self, form: Form, n: int) -> SamplingParams:
        """How to sample `n` replies in `form`."""
        temperature = TEMPERATURE if self.temperature is None else self.temperature
        return form.params(temperature=temperature, seed=self.seed, n=n)

    def _source(self) -> Source:
        given = [source for source in SOURCES if getattr(self, source) is not None]
        if given == ["character_id", "text"]:
            return "text"
        if len(given) != 1:
            named = ", ".join(f"`{source}`" for source in SOURCES)
            both = f", not {' and '.join(f'`{source}`' for source in given)}" if given else ""
            raise InvalidRequestError(f"one of {named} is needed{both}", param=given[1] if given else "persona")
        return given[0]

    def _check_text(self) -> None:
        for field in ("persona", "text", "name"):
            value: str | None = getattr(self, field)
            if value is not None and not value.strip():
                raise InvalidRequestError(f"`{field}` is empty", param=field)
        for index, quote in enumerate(self.quotes or ()):
            if not quote.strip():
                raise InvalidRequestError(f"quote {index} is empty", param=f"quotes.{index}")

    def _check_card(self, source: Source) -> None:
        if not self.complete:
            raise InvalidRequestError(f"`{source}` needs `complete: true`: what it lacks is filled", param="complete")
        if self.name is not None:
            raise InvalidRequestError(f"`name` is the card's own: `{source}` has one, or gets one", param="name")

    def _check_variations(self) -> None:
        if self.character_id is not None and (self.n or 1) > 1 and not self.dry_run:
            raise InvalidRequestError(
                f"{clipped(str(self.character_id))!r} can become one of its variations alone: ask for `n` of them with "
                "`dry_run: true`",
                param="n",
            )
