"""Adapters: what lies in the server's folder, and which of it a character speaks with."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from app.api.http.body import JsonRoute
from app.api.http.deps import CharactersDep, TurnsDep
from app.api.http.etags import IfMatch, check_match, etag
from app.api.http.patch import merge_patch
from app.api.http.records import Cursor, Limit
from app.errors import InvalidRequestError, NotFoundError, VoiceError, quoted
from app.sessions.voices import OFF, Voices, read_voice
from app.store.adapters import NAME
from app.store.characters import CharacterRecord
from characters.card import EXTENSION, CharacterCard, parse_card
from models.adapters import Report

router = APIRouter(tags=["adapters"], route_class=JsonRoute)


class AdapterBody(BaseModel):
    """One of the server's adapters, by the name of its folder."""

    adapter: str = Field(min_length=1, max_length=200)


@router.get("/adapters")
async def list_adapters(turns: TurnsDep, cursor: Cursor = "", limit: Limit = 50) -> dict[str, Any]:
    """A page of the adapters that are there, broken ones too; pass `next_cursor` as `cursor` for the next one."""
    store = turns.voices.store
    reports, following = await store.page(cursor, limit) if store else ([], None)
    return {"enabled": store is not None, "adapters": [to_wire(report) for report in reports], "next_cursor": following}


@router.get("/adapters/{name}")
async def read_adapter(name: str, turns: TurnsDep) -> dict[str, Any]:
    """One of them."""
    report = await turns.voices.store.read(name) if turns.voices.store else None
    if report is None:
        raise _unknown(name)
    return to_wire(report)


@router.get("/characters/{character_id}/adapter", response_model=None)
async def read_characters_adapter(character_id: str, characters: CharactersDep, turns: TurnsDep) -> Response:
    """The adapter that the character speaks with, and whether it can; null is the model's own voice."""
    return await _answer(await characters.get(character_id), turns.voices)


@router.put("/characters/{character_id}/adapter", response_model=None)
async def replace_characters_adapter(
    character_id: str, body: AdapterBody, characters: CharactersDep, turns: TurnsDep, if_match: IfMatch = None
) -> Response:
    """Have the character speak with an adapter, as a new version of it. It is loaded first, and refused if broken."""
    voices, name = turns.voices, body.adapter
    check_match(await characters.get(character_id), if_match)
    if not NAME.fullmatch(name):
        raise InvalidRequestError(f"{quoted(name)} is no adapter's name", param="adapter", code="invalid_adapter_name")
    if voices.store is None:
        raise VoiceError(OFF, param="adapter", code="adapters_off")
    if await voices.store.read(name) is None:
        raise _unknown(name)
    await voices.find(name)

    async def change(record: CharacterRecord) -> dict[str, Any]:
        check_match(record, if_match)
        return {"card": _speaking(record.card, name)}

    return await _answer(await characters.rewrite(character_id, change, insist=if_match is None), voices)


@router.delete("/characters/{character_id}/adapter", status_code=204, response_model=None)
async def remove_characters_adapter(character_id: str, characters: CharactersDep, if_match: IfMatch = None) -> Response:
    """Have the character speak in the model's own voice again, as a new version of it."""

    async def change(record: CharacterRecord) -> dict[str, Any]:
        check_match(record, if_match)
        return {"card": _speaking(record.card, None)}

    changed = await characters.rewrite(character_id, change, insist=if_match is None)
    return Response(status_code=204, headers={"etag": etag(changed)})


def to_wire(report: Report) -> dict[str, Any]:
    """What clients see of an adapter."""
    return {
        "name": report.name,
        "base": report.base,
        "rank": report.rank,
        "modules": list(report.modules),
        "size_bytes": report.size_bytes,
        "usable": report.usable,
        "problems": list(report.problems),
    }


def _speaking(card: CharacterCard, name: str | None) -> CharacterCard:
    """The card with another adapter in its corner; None takes it out."""
    return parse_card(merge_patch(card, {"data": {"extensions": {EXTENSION: {"adapter": name}}}}))


async def _answer(record: CharacterRecord, voices: Voices) -> Response:
    voice = read_voice(record.card)
    fault = await voices.fault(voice)
    told = {"adapter": voice or None, "version": record.version, "usable": not fault, "problem": fault}
    return JSONResponse(told, headers={"etag": etag(record)})


def _unknown(name: str) -> NotFoundError:
    told = f"there is no adapter {quoted(name)}; GET /adapters lists those that are there"
    return NotFoundError(told, param="adapter", code="adapter_not_found")
