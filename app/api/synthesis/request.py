"""What a synthesis may be asked for: one source, and how to write from it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.errors import InvalidRequestError, clipped
from characters.profile import MAX_NOTE, MAX_NOTES, SYNTHESIS_LENGTHS

MOST_VARIATIONS = 8
MOST_TEXT_BYTES = 2 * 2**20

Source = Literal["persona", "quotes", "card", "character_id", "text"]
SOURCES: tuple[Source, ...] = ("persona", "quotes", "card", "character_id", "text")
CARDS: tuple[Source, ...] = ("card", "character_id")


class SynthesisRequest(BaseModel):
    """One source, and how to write from it; the same `seed` writes the same character. Null is absent."""

    model_config = ConfigDict(extra="allow")

    persona: str | None = Field(None, min_length=1, max_length=1000)
    quotes: list[Annotated[str, Field(max_length=MAX_NOTE)]] | None = Field(None, min_length=1, max_length=MAX_NOTES)
    card: dict[str, Any] | None = Field(
        None, description="As in POST /characters, with an `id` or not; its name may be missing, too."
    )
    character_id: str | None = None
    text: str | None = Field(None, description="A chapter, say; 2 MiB at most.")
    name: str | None = Field(None, min_length=1, max_length=SYNTHESIS_LENGTHS["name"])
    complete: bool | None = Field(None, description="Fill what profile and greeting lack, and change nothing else.")
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
        if source == "text" and self.name is None:
            raise InvalidRequestError("`text` needs the `name` of whom to look for in it", param="name")
        return source

    def _source(self) -> Source:
        given = [source for source in SOURCES if getattr(self, source) is not None]
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
        if self.text is not None and len(self.text.encode()) > MOST_TEXT_BYTES:
            raise InvalidRequestError(f"`text` has more than {MOST_TEXT_BYTES} bytes", param="text")

    def _check_card(self, source: Source) -> None:
        if not self.complete:
            raise InvalidRequestError(f"`{source}` needs `complete: true`: what it lacks is filled", param="complete")
        if self.name is not None:
            raise InvalidRequestError(f"`name` is the card's own: `{source}` has one, or gets one", param="name")
        if source == "character_id" and (self.n or 1) > 1 and not self.dry_run:
            raise InvalidRequestError(
                f"{clipped(str(self.character_id))!r} can become one of its variations alone: ask for `n` of them with "
                "`dry_run: true`",
                param="n",
            )
