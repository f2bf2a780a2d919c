"""Characters: register, list, read, change, delete."""

from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query
from starlette.responses import Response

from app.api.http.body import JsonRoute
from app.api.http.deps import CharactersDep, LorebooksDep, open_characters
from app.api.http.etags import IfMatch, check_match, etag, placed
from app.api.http.ids import check_id
from app.api.http.patch import check_assets, check_sizes, keep_assets, lift_extension, merge_patch
from app.api.http.records import Cursor, Limit, NameQuery, record_routes
from app.store.characters import CharacterRecord, CharacterStore
from app.store.lorebooks import LorebookStore
from characters.card import CharacterCard, parse_card, slug
from characters.formats.gallery import Gallery
from characters.lore.embedded import warn_of_book

router = APIRouter(prefix="/characters", tags=["characters"], route_class=JsonRoute)

# What lists show of a version.
SHOWN = ("version", "name", "updated")
Tag = Annotated[str, Query(max_length=200)]
# A card is checked by `parse_card`, which knows what people's files look like.
CardBody = Annotated[dict[str, Any], Body()]


@router.post("", status_code=201, response_model=None)
async def create_character(body: CardBody, characters: CharactersDep, lorebooks: LorebooksDep) -> Response:
    """Register a card: V2 or V3 JSON, or the bare `data` object, with an `id` or one made from its name."""
    character_id = check_id(body.pop("id", None))
    card = parse_card(body)
    check_assets(card)
    check_sizes(card)
    told = await lore_warnings(card, lorebooks)
    record = CharacterRecord(character_id or slug(card.data.name), 1, card, lore_warnings=told)
    return created(await (characters.create(record) if character_id else characters.create_unnamed(record)))


@router.get("", response_model=None)
async def list_characters(
    characters: CharactersDep,
    q: NameQuery = "",
    tag: Tag = "",
    cursor: Cursor = "",
    limit: Limit = 50,
) -> Response:
    """A page of characters; pass `next_cursor` as `cursor` for the next one."""
    records, following = await characters.search(after=cursor, limit=limit, query=q, tag=tag)
    page = {"characters": [to_wire(record) for record in records], "next_cursor": following}
    # FastAPI's own way from a dict to JSON takes a hundred times as long: 20 ms for a page.
    return Response(orjson.dumps(page), media_type="application/json")


@router.put("/{character_id}", response_model=None)
async def replace_character(
    character_id: str,
    body: CardBody,
    characters: CharactersDep,
    lorebooks: LorebooksDep,
    if_match: IfMatch = None,
) -> Response:
    """Put another card in its place. Its pictures stay, unless the card says which `assets` it has."""
    body.pop("id", None)

    async def change(record: CharacterRecord) -> dict[str, Any]:
        check_match(record, if_match)
        lifted = lift_extension(body)
        card = parse_card(keep_assets(lifted, record.card) if record.files else lifted)
        return {**await _fields(card, record, lorebooks), "warnings": (), "bookmark": None}

    return shown(await characters.rewrite(character_id, change, insist=if_match is None))


@router.patch("/{character_id}", response_model=None)
async def change_character(
    character_id: str,
    body: CardBody,
    characters: CharactersDep,
    lorebooks: LorebooksDep,
    if_match: IfMatch = None,
) -> Response:
    """Merge a patch (RFC 7396) into `data`, `profile` and `persona`; bare card fields go to `data`."""

    async def change(record: CharacterRecord) -> dict[str, Any]:
        check_match(record, if_match)
        return await _fields(parse_card(merge_patch(record.card, body)), record, lorebooks)

    return shown(await characters.rewrite(character_id, change, insist=if_match is None))


def to_wire(record: CharacterRecord) -> dict[str, Any]:
    """What clients see of a character."""
    told = [*record.warnings, *record.lore_warnings]
    mark = record.bookmark
    reading = {"reading": {"text": mark.text, "read": mark.read, "done": mark.done}} if mark else {}
    return {"id": record.id, **card_to_wire(record.card), "version": record.version, "warnings": told, **reading}


def card_to_wire(card: CharacterCard) -> dict[str, Any]:
    """The card as V3 JSON; optional fields that were never set are left out.

    Profile and persona stand in `data.extensions.opencharacter`, for front-ends to bring back, and beside `data`.
    """
    data = card.data.model_dump()
    told = {key: value for key, value in data.items() if value is not None or key in card.data.model_fields_set}
    told["extensions"] = card.to_v3()["data"]["extensions"]
    profile = card.profile.model_dump() if card.profile else None
    return {
        "spec": card.spec,
        "spec_version": card.spec_version,
        "data": told,
        "profile": profile,
        "persona": card.persona,
    }


async def lore_warnings(card: CharacterCard, lorebooks: LorebookStore) -> tuple[str, ...]:
    """What of its lorebook can't be carried out, found out beside the event loop."""
    return await lorebooks.beside(partial(warn_of_book, card)) if card.data.character_book else ()


async def _fields(card: CharacterCard, record: CharacterRecord, lorebooks: LorebookStore) -> dict[str, Any]:
    """What `card` makes of a record's fields. Raises InvalidRequestError and CardError."""
    check_assets(card, record.card)
    check_sizes(card, record.card)
    files = Gallery(record.card, record.files).with_card(card).files
    return {"card": card, "files": files, "lore_warnings": await lore_warnings(card, lorebooks)}


def created(record: CharacterRecord) -> Response:
    """201, with the place of the new character."""
    return Response(orjson.dumps(to_wire(record)), 201, placed("characters", record), "application/json")


def shown(record: CharacterRecord) -> Response:
    """The character as clients see it, under its ETag."""
    return Response(orjson.dumps(to_wire(record)), headers={"etag": etag(record)}, media_type="application/json")


async def _show(_: CharacterStore, record: CharacterRecord) -> Response:
    return shown(record)


async def _versions(
    characters: CharacterStore, character_id: str, before: int | None, limit: int
) -> list[dict[str, Any]]:
    entries = await characters.history.entries(character_id, before=before, limit=limit)
    # Entries of version 0.1.0 have no time.
    return [{"updated": 0} | {key: entry[key] for key in SHOWN if key in entry} for entry in entries]


router.include_router(record_routes(open_characters, _show, _versions))
