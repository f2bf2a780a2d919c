"""Characters as files to take home, in every format that is written."""

import re
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query
from starlette.responses import FileResponse, Response

from app.api.characters.versions import VersionQuery, read_version
from app.api.http.body import JsonRoute
from app.api.http.deps import CharactersDep, WorkerDep
from app.api.http.etags import IfNoneMatch, is_met
from app.api.http.upload import FolderDep
from app.worker.writing import write_export
from characters.formats.writing import KINDS, Format

router = APIRouter(prefix="/characters", tags=["characters"], route_class=JsonRoute)

# What some system or other allows in no file's name.
UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')


@router.get("/{character_id}/export", response_model=None)
async def export_character(
    character_id: str,
    characters: CharactersDep,
    worker: WorkerDep,
    folder: FolderDep,
    target: Annotated[Format, Query(alias="format", description="PNG is drawn where there is no avatar.")] = "png",
    version: VersionQuery = None,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The character as a file that other programs read, and that comes back here unchanged, with its pictures."""
    record = await read_version(characters, character_id, version)
    kind = KINDS[target]
    headers = {
        "content-disposition": attachment(record.card.data.name, record.id, kind.suffix),
        "etag": f'"{record.revision}-{target}"',
        "cache-control": "private, no-cache",
        "x-content-type-options": "nosniff",
    }
    if is_met(if_none_match, headers["etag"]):
        return Response(status_code=304, headers=headers)
    # YAML is text alone.
    files = {} if target == "yaml" else record.files
    await characters.files.copy(record.id, files, folder)
    written = await worker.run(write_export, record.card, files, folder, target)
    return FileResponse(folder / written, headers=headers, media_type=kind.media_type)


def attachment(name: str, plain: str, suffix: str) -> str:
    """Content-Disposition (RFC 6266) of a file called `name` where the client knows Unicode, else `plain`."""
    shown = UNSAFE.sub("_", name).strip(" .")[:100] or plain
    return f"attachment; filename=\"{plain}.{suffix}\"; filename*=UTF-8''{quote(f'{shown}.{suffix}', safe='')}"
