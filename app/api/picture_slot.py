"""One picture of a character over HTTP: shown, given, taken away. What is no picture is never served as one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from starlette.responses import JSONResponse, Response

from app.api.deps import CharactersDep, SettingsDep, WorkerDep
from app.api.etags import check_match
from app.api.upload import receive_uploads
from app.errors import InvalidRequestError, NotFoundError
from app.store.characters import CharacterRecord, CharacterStore
from app.worker.pictures import check_picture
from app.worker.pool import Worker
from characters.formats.gallery import Gallery
from characters.formats.picture import Picture, sniff

MOST_PICTURE_BYTES = 16 << 20
HEADERS = {
    "cache-control": "private, no-cache",
    "content-security-policy": "default-src 'none'",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Slot:
    """A picture's place in a gallery: what errors call it, its file's path, the gallery with another and with none."""

    name: str
    find: Callable[[Gallery], str | None]
    fill: Callable[[Gallery, str, str], Gallery]
    clear: Callable[[Gallery], Gallery]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Of all characters. Methods raise NotFoundError, PreconditionError, and what is wrong with an upload."""

    characters: CharacterStore
    worker: Worker
    most_bytes: int

    async def show(self, record: CharacterRecord, slot: Slot, if_none_match: str | None) -> Response:
        """The picture under a strong ETag, which is its digest; 304 where the client has it."""
        digest = record.files[_find(record, slot)]
        headers = {**HEADERS, "etag": f'"{digest}"'}
        if if_none_match is not None and (f'"{digest}"' in if_none_match or if_none_match.strip() == "*"):
            return Response(status_code=304, headers=headers)
        blob = await self.characters.files.read(record.id, digest)
        media_type = sniff(blob)
        if media_type is None:
            raise _missing(record, f"{slot.name} that is a picture")
        return Response(blob, headers=headers, media_type=media_type)

    async def replace(
        self, record: CharacterRecord, slot: Slot, request: Request, folder: Path, if_match: str | None
    ) -> Response:
        """Put the picture that was sent in its place, as a new version of the character."""
        _check(record, slot, if_match)
        picture, digest, blob = await self._receive(request, folder)
        gallery = slot.fill(_gallery(record), digest, picture.suffix)
        changed = await self.characters.replace(record, {digest: blob}, card=gallery.card, files=gallery.files)
        told = {
            "media_type": picture.media_type,
            "width": picture.width,
            "height": picture.height,
            "bytes": len(blob),
            "version": changed.version,
        }
        return JSONResponse(told, headers={"etag": f'"{digest}"'})

    async def remove(self, record: CharacterRecord, slot: Slot, if_match: str | None) -> Response:
        """Take it away, as a new version of the character."""
        _find(record, slot)
        _check(record, slot, if_match)
        gallery = slot.clear(_gallery(record))
        await self.characters.replace(record, card=gallery.card, files=gallery.files)
        return Response(status_code=204)

    async def _receive(self, request: Request, folder: Path) -> tuple[Picture, str, bytes]:
        """The one picture that was sent: what it is, its digest, its content."""
        uploads = await receive_uploads(request, folder, self.most_bytes, "")
        if len(uploads) > 1:
            raise InvalidRequestError(f"{len(uploads)} files were sent; expected one picture", code="too_many_files")
        picture, digest = await self.worker.run(check_picture, uploads[0].path)
        return picture, digest, await run_sync(uploads[0].path.read_bytes)


async def _pictures(characters: CharactersDep, worker: WorkerDep, settings: SettingsDep) -> Pictures:
    return Pictures(characters, worker, min(MOST_PICTURE_BYTES, settings.max_import_bytes))


PicturesDep = Annotated[Pictures, Depends(_pictures)]


def _gallery(record: CharacterRecord) -> Gallery:
    return Gallery(record.card, record.files)


def _find(record: CharacterRecord, slot: Slot) -> str:
    path = slot.find(_gallery(record))
    if path is None:
        raise _missing(record, slot.name)
    return path


def _missing(record: CharacterRecord, what: str) -> NotFoundError:
    return NotFoundError(f"{record.id!r} has no {what}", code="picture_not_found")


def _check(record: CharacterRecord, slot: Slot, if_match: str | None) -> None:
    """If-Match means the picture by its ETag, or the character by its own."""
    path = slot.find(_gallery(record))
    if path is None or if_match is None or f'"{record.files[path]}"' not in if_match:
        check_match(record, if_match)
