"""A character's versions: every change keeps the one before it, with the files that it had."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from app.api.characters.routes import shown
from app.api.http.body import JsonRoute
from app.api.http.deps import CharactersDep
from app.api.http.etags import IfMatch, IfNoneMatch, check_match, etag, is_unchanged
from app.api.http.version_pages import MAX_VERSION, VersionCursor, VersionLimit, VersionNumber, page_versions
from app.store.characters import CharacterRecord, CharacterStore

router = APIRouter(prefix="/characters", tags=["characters"], route_class=JsonRoute)

# What lists show of a version.
SHOWN = ("version", "name", "updated")

VersionQuery = Annotated[int | None, Query(ge=1, lt=MAX_VERSION, description="As it was then, instead of now.")]


@router.get("/{character_id}/versions")
async def list_versions(
    character_id: str, characters: CharactersDep, cursor: VersionCursor = None, limit: VersionLimit = 50
) -> dict[str, Any]:
    """A page of versions, newest first; pass `next_cursor` as `cursor` for older ones."""
    entries = await characters.history.entries(character_id, before=cursor, limit=limit)
    # Entries of version 0.1.0 have no time.
    return page_versions([{"updated": 0} | {key: entry[key] for key in SHOWN if key in entry} for entry in entries])


@router.get("/{character_id}/versions/{version}", response_model=None)
async def read_old_version(
    character_id: str, version: VersionNumber, characters: CharactersDep, if_none_match: IfNoneMatch = None
) -> Response:
    """The character as it was then."""
    record = await read_version(characters, character_id, version)
    if is_unchanged(record, if_none_match):
        return Response(status_code=304, headers={"etag": etag(record)})
    return shown(record)


@router.post("/{character_id}/versions/{version}/restore", response_model=None)
async def restore_version(
    character_id: str, version: VersionNumber, characters: CharactersDep, if_match: IfMatch = None
) -> Response:
    """Make the character what it was then, pictures and all, as a new version."""
    record = await characters.get(character_id)
    check_match(record, if_match)
    return shown(await characters.restore(record, version))


async def read_version(characters: CharacterStore, character_id: str, version: int | None) -> CharacterRecord:
    """The character, in this version where one is named. Raises NotFoundError."""
    record = await characters.get(character_id)
    return record if version is None else await characters.history.read(record, version)
