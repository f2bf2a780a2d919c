"""Personas: who users play. Registered once, taken up in any session."""

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, Field, field_validator
from starlette.responses import JSONResponse, Response

from app.api.http.body import JsonRoute
from app.api.http.deps import LorebooksDep, PersonasDep, open_personas
from app.api.http.etags import IfMatch, check_match, etag, placed
from app.api.http.ids import check_id
from app.api.http.patch import merge
from app.api.http.records import Cursor, Limit, NameQuery, record_routes
from app.sessions.books import MAX_BOOKS, check_books
from app.store.lorebooks import LorebookStore
from app.store.personas import PersonaRecord, PersonaStore
from characters.card import slug

router = APIRouter(prefix="/personas", tags=["personas"], route_class=JsonRoute)


class PersonaBody(BaseModel):
    """A persona as clients write it; `persona` is what characters know of the user, `icon` the picture's name."""

    name: str = Field(min_length=1, max_length=100)
    persona: str = Field("", max_length=8000)
    icon: str = Field("", max_length=200)
    lorebook_ids: list[Annotated[str, Field(max_length=200)]] = Field([], max_length=MAX_BOOKS)

    @field_validator("name")
    @classmethod
    def _says_something(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("a persona needs a name")
        return name.strip()

    def fields(self) -> dict[str, Any]:
        """The record's own."""
        books = tuple(dict.fromkeys(self.lorebook_ids))
        return {"name": self.name, "persona": self.persona, "icon": self.icon.strip(), "lorebook_ids": books}


class NewPersona(PersonaBody):
    """One to register, under an id of the client's or one made from its name."""

    id: str | None = None


# Of a patch, which is checked once it is merged.
PatchBody = Annotated[dict[str, Any], Body()]


@router.post("", status_code=201, response_model=None)
async def create_persona(body: NewPersona, personas: PersonasDep, lorebooks: LorebooksDep) -> Response:
    """Register a persona, with an `id` or one made from its name."""
    chosen = check_id(body.id)
    await check_books(lorebooks, body.lorebook_ids)
    record = PersonaRecord(chosen or slug(body.name, "persona"), 1, **body.fields())
    record = await (personas.create(record) if chosen else personas.create_unnamed(record))
    return JSONResponse(to_wire(record), 201, placed("personas", record))


@router.get("")
async def list_personas(
    personas: PersonasDep,
    q: NameQuery = "",
    cursor: Cursor = "",
    limit: Limit = 50,
) -> dict[str, Any]:
    """A page of personas; pass `next_cursor` as `cursor` for the next one."""
    records, following = await personas.search(after=cursor, limit=limit, query=q)
    return {"personas": [to_wire(record) for record in records], "next_cursor": following}


@router.put("/{persona_id}", response_model=None)
async def replace_persona(
    persona_id: str, body: PersonaBody, personas: PersonasDep, lorebooks: LorebooksDep, if_match: IfMatch = None
) -> Response:
    """Put another persona in its place."""
    record = await personas.get(persona_id)
    check_match(record, if_match)
    return _answer(await _rewrite(record, body, personas, lorebooks))


@router.patch("/{persona_id}", response_model=None)
async def change_persona(
    persona_id: str, body: PatchBody, personas: PersonasDep, lorebooks: LorebooksDep, if_match: IfMatch = None
) -> Response:
    """Merge a patch (RFC 7396) into it."""
    record = await personas.get(persona_id)
    check_match(record, if_match)
    changed = PersonaBody.model_validate(merge(to_wire(record), body))
    return _answer(await _rewrite(record, changed, personas, lorebooks))


async def _rewrite(
    record: PersonaRecord, body: PersonaBody, personas: PersonaStore, lorebooks: LorebookStore
) -> PersonaRecord:
    """The next version. A lorebook that it had already may be gone by now, and is no reason to refuse."""
    await check_books(lorebooks, [one for one in body.lorebook_ids if one not in record.lorebook_ids])
    return await personas.replace(record, **body.fields())


def to_wire(record: PersonaRecord) -> dict[str, Any]:
    """What clients see of a persona."""
    return {
        "id": record.id,
        "name": record.name,
        "persona": record.persona,
        "icon": record.icon,
        "lorebook_ids": list(record.lorebook_ids),
        "version": record.version,
        "updated": int(record.updated),
    }


def _answer(record: PersonaRecord) -> Response:
    return JSONResponse(to_wire(record), headers={"etag": etag(record)})


async def _show(_: PersonaStore, record: PersonaRecord) -> Response:
    return _answer(record)


async def _versions(personas: PersonaStore, persona_id: str, before: int | None, limit: int) -> list[dict[str, Any]]:
    versions = await personas.history.page(await personas.get(persona_id), before=before, limit=limit)
    return [to_wire(version) for version in versions]


router.include_router(record_routes(open_personas, _show, _versions))
