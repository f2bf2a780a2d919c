"""One picture of a character over HTTP: shown, given, taken away. What is no picture is never served as one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from starlette.responses import JSONResponse, Response

from app.api.http.deps import CharactersDep, SettingsDep, WorkerDep
from app.api.http.etags import check_match, is_met
from app.api.http.upload import receive_uploads
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
    """A picture's place in a gallery: what errors call it, its file's path, the gallery with another and with none.

    `fill` raises InvalidRequestError where none can be there.
    """

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
        if is_met(if_none_match, headers["etag"]):
            return Response(status_code=304, headers=headers)
        blob = await self.characters.files.read(record.id, digest)
        media_type = sniff(blob)
        if media_type is None:
            raise _missing(record, f"{slot.name} that is a picture")
        return Response(blob, headers=headers, media_type=media_type)

    async def replace(
        self, character_id: str, slot: Slot, request: Request, folder: Path, if_match: str | None
    ) -> Response:
        """Put the picture that was sent in its place, as a new version of the character."""
        picture, digest, blob = await self._receive(request, folder)

        async def change(record: CharacterRecord) -> dict[str, Any]:
            _check(record, slot, if_match)
            return _fields(slot.fill(_gallery(record), digest, picture.suffix))

        changed = await self.characters.rewrite(character_id, change, {digest: blob}, insist=if_match is None)
        told = {
            "media_type": picture.media_type,
            "width": picture.width,
            "height": picture.height,
            "bytes": len(blob),
            "version": changed.version,
        }
        return JSONResponse(told, headers={"etag": f'"{digest}"'})

    async def remove(self, character_id: str, slot: Slot, if_match: str | None) -> Response:
        """Take it away, as a new version of the character."""

        async def change(record: CharacterRecord) -> dict[str, Any]:
            _find(record, slot)
            _check(record, slot, if_match)
            return _fields(slot.clear(_gallery(record)))

        await self.characters.rewrite(character_id, change, insist=if_match is None)
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


def _fields(gallery: Gallery) -> dict[str, Any]:
    return {"card": gallery.card, "files": gallery.files}


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
    if path is None or not is_met(if_match, f'"{record.files[path]}"'):
        check_match(record, if_match)
