"""Characters that the model writes: from a persona, from quotes, from what a card lacks, or from a text about them."""

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.characters.routes import card_to_wire, lore_warnings, to_wire
from app.api.chat.sse import ErrorResponse
from app.api.http.body import JsonRoute
from app.api.http.deps import CharactersDep, LorebooksDep, SettingsDep, TurnsDep
from app.api.http.etags import IfMatch, check_match
from app.api.http.ids import check_id
from app.api.http.upload import FolderDep
from app.api.synthesis.body import BODY, bind_text, receive_synthesis
from app.api.synthesis.profile_stream import ProfileStream, Wire, Written, answer_json, answer_stream, answer_unasked
from app.api.synthesis.reader import Reader, open_reader
from app.api.synthesis.reading_stream import ReadingStream, reading_to_wire
from app.api.synthesis.request import SynthesisRequest
from app.errors import ConflictError, ContextLengthError, InvalidRequestError, PreconditionError
from app.store.characters import CharacterRecord, CharacterStore
from app.store.lorebooks import LorebookStore
from characters.card import CharacterCard, parse_card, slug
from models.synthesis.commission import Commission, NothingMissing, complete, from_card, from_persona, from_quotes
from models.synthesis.form import ProfileTooLong

router = APIRouter(prefix="/characters", tags=["characters"], route_class=JsonRoute)

# Who a card without a name is until it gets one.
NOBODY = "Somebody"


@router.post("/synthesize", response_model=None, openapi_extra=BODY)
async def synthesize_character(
    request: Request,
    folder: FolderDep,
    settings: SettingsDep,
    turns: TurnsDep,
    characters: CharactersDep,
    lorebooks: LorebooksDep,
    if_match: IfMatch = None,
) -> Response:
    """Write a character from a persona, quotes, half a card or a text; streamed, its fields arrive one by one.

    A text may be the body itself, with the other fields in the query: `name` or `character_id` tell it from JSON.
    If-Match is of a stored card's. Without it, what somebody changes meanwhile stays, and the rest is filled.
    """
    body, sent = await receive_synthesis(request, folder, settings.max_import_bytes)
    source = body.check()
    on_error: ErrorResponse = request.app.state.respond
    if sent is not None:
        reader = await open_reader(await bind_text(sent, folder), body, turns, characters, if_match)
        return await _read(reader, body, on_error)
    shelf = None if body.dry_run else characters
    new_draft = partial(Draft, lorebooks, shelf)
    record = None if body.character_id is None else await characters.get(body.character_id)
    if record is not None:
        check_match(record, if_match)
    chosen = None if body.card is None else await _free_id(body, characters)
    status = 200 if body.dry_run or record else 201
    n = body.n or 1

    async def keep(written: Written) -> Wire:
        if record is not None:
            return await _fill(record, written, characters, if_match, new_draft)
        made = await new_draft(chosen=chosen).keep(commission.finish(written))
        return made | {"filled": commission.filled} if commission.filled else made

    try:
        commission = _commission(body, record)
        if not commission.needs_model:
            return await answer_unasked(keep, n, on_error, status=status, streamed=bool(body.stream))
        asked, form = commission.ask(turns.engine.renderer, turns.engine.max_model_len)
    except NothingMissing as error:
        raise InvalidRequestError(str(error), param=source, code="nothing_missing") from error
    except ProfileTooLong as error:
        raise ContextLengthError(str(error), param=source) from error

    turn = await turns.stateless.complete(asked, body.params(form, n), endpoint="synthesize")
    return ProfileStream(turn, form, keep, on_error, status=status, streamed=bool(body.stream), several=n > 1)


async def _read(reader: Reader, body: SynthesisRequest, on_error: ErrorResponse) -> Response:
    """Begin to read a text, or to read on."""
    status, several = 200 if body.dry_run or reader.record else 201, (body.n or 1) > 1
    if reader.reading.done:
        made = [{**reader.shown(), "reading": reading_to_wire(reader.reading)}]
        return answer_stream(made) if body.stream else answer_json(made, status, several=several)
    turn = await reader.ask()
    return ReadingStream(turn, reader, on_error, status=status, streamed=bool(body.stream), several=several)


async def _fill(
    record: CharacterRecord,
    written: Written,
    characters: CharacterStore,
    if_match: str | None,
    new_draft: Callable[..., "Draft"],
) -> Wire:
    """The stored card with what of `written` it lacks by now. Raises PreconditionError for another `if_match`."""
    while True:
        card, filled = complete(record.card, written)
        try:
            kept = await new_draft(record).keep(card) if filled else to_wire(record)
        except PreconditionError:
            record = await characters.get(record.id)
            check_match(record, if_match)
        else:
            return kept | {"filled": filled}


async def _free_id(body: SynthesisRequest, characters: CharacterStore) -> str | None:
    """The id that the card asks for. Raises InvalidRequestError, and ConflictError where it is taken already."""
    chosen = check_id((body.card or {}).get("id"))
    if chosen is None or body.dry_run:
        return None
    if (body.n or 1) > 1:
        raise InvalidRequestError("one character can have the card's `id`, not `n` of them", param="n")
    if chosen in await characters.ids():
        raise ConflictError(f"there is a character {chosen!r} already", param="card.id", code="id_taken")
    return chosen


def _commission(body: SynthesisRequest, record: CharacterRecord | None) -> Commission:
    if body.persona is not None:
        return from_persona(body.persona, body.name)
    if body.quotes is not None:
        return from_quotes(body.quotes, body.name)
    if record is not None:
        return from_card(record.card)
    assert body.card is not None
    card, named = _parse_half(body.card)
    return from_card(card, named=named)


def _parse_half(card: dict[str, Any]) -> tuple[CharacterCard, bool]:
    """The card, and whether it has a name."""
    card = {key: value for key, value in card.items() if key != "id"}
    data = card.get("data", card)
    if not isinstance(data, dict) or not _is_blank(data.get("name")):
        return parse_card(card), True
    data = {**data, "name": NOBODY}
    return parse_card({**card, "data": data} if "data" in card else data), False


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


class Draft:
    """A character as it is written: each time it gets a version more. In a dry run it is stored nowhere."""

    def __init__(
        self,
        lorebooks: LorebookStore,
        characters: CharacterStore | None,
        record: CharacterRecord | None = None,
        chosen: str | None = None,
    ) -> None:
        """`chosen` is the id that a new one gets; without it one is made from its name."""
        self._lorebooks = lorebooks
        self._characters = characters
        self._record = record
        self._chosen = chosen

    async def keep(self, card: CharacterCard) -> Wire:
        """The character as clients see it; its `id` is null when it wasn't saved."""
        told = await lore_warnings(card, self._lorebooks)
        if self._characters is None:
            return {"id": None, **card_to_wire(card), "version": 0, "warnings": list(told)}
        if self._record is None:
            new = CharacterRecord(self._chosen or slug(card.data.name), 1, card, lore_warnings=told)
            create = self._characters.create if self._chosen else self._characters.create_unnamed
            self._record = await create(new)
        else:
            self._record = await self._characters.replace(self._record, card=card, lore_warnings=told)
        return to_wire(self._record)
