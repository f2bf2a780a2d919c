"""Files that clients send, as the body itself or as fields of a form, put into a folder for a worker to read.

A folder lives as long as the request; nothing in it is named by a client.
"""

import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Annotated, Any

import anyio
from anyio.to_thread import run_sync
from fastapi import Depends, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.api.http.body import bounded
from app.errors import InvalidRequestError

FIELD = "file"
MOST_FILES = 1000
MOST_NAME_CHARS = 200
# What a form may have around its files.
FORM_BYTES = 1 << 16
PIECE_BYTES = 1 << 20

_BINARY = {"schema": {"type": "string", "format": "binary"}}


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a client sent: what the client calls it, and where it lies."""

    name: str
    path: Path


def describe_upload(field: dict[str, Any] = _BINARY["schema"]) -> dict[str, Any]:
    """What OpenAPI says of a body that is a file, or a form with `field`."""
    form = {"schema": {"type": "object", "required": [FIELD], "properties": {FIELD: field}}}
    content = {"multipart/form-data": form, "application/octet-stream": _BINARY}
    return {"requestBody": {"required": True, "content": content}}


@asynccontextmanager
async def open_folder() -> AsyncIterator[Path]:
    """An empty folder, removed at exit with all that is in it by then."""
    folder = await run_sync(lambda: TemporaryDirectory(prefix="opencharacter-", ignore_cleanup_errors=True))
    try:
        yield Path(folder.name)
    finally:
        with anyio.CancelScope(shield=True):
            await run_sync(folder.cleanup)


async def _folder() -> AsyncIterator[Path]:
    async with open_folder() as folder:
        yield folder


# An empty folder that is there until the response has been sent.
FolderDep = Annotated[Path, Depends(_folder)]


async def receive_uploads(request: Request, folder: Path, limit: int, name: str) -> list[Upload]:
    """The files of a form's field `file`, or the body as one file called `name`, put into `folder`.

    Raises BodyTooLargeError and InvalidRequestError.
    """
    return (await receive_form(request, folder, limit, name))[0]


async def receive_form(
    request: Request, folder: Path, limit: int, name: str
) -> tuple[list[Upload], dict[str, list[str]]]:
    """The same, and the texts of the form's other fields."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _receive_form(request, folder, limit)
    path = folder / "upload"
    async with aclosing(bounded(request.stream(), limit)) as pieces:
        await _write(pieces, path)
    return [Upload(name[:MOST_NAME_CHARS] or "upload", path)], {}


async def _receive_form(request: Request, folder: Path, limit: int) -> tuple[list[Upload], dict[str, list[str]]]:
    async with aclosing(bounded(request.stream(), limit + FORM_BYTES)) as pieces:
        try:
            form = await MultiPartParser(request.headers, pieces, max_files=MOST_FILES, max_fields=MOST_FILES).parse()
        except MultiPartException as error:
            async for _ in pieces:
                pass
            told = f"the form can't be read: {error.message.rstrip('.')}"
            raise InvalidRequestError(told, code="invalid_form") from None
    uploads: list[Upload] = []
    fields: dict[str, list[str]] = {}
    try:
        for key, item in form.multi_items():
            if isinstance(item, str):
                fields.setdefault(key, []).append(item)
            if key == FIELD and isinstance(item, UploadFile):
                uploads.append(Upload((item.filename or "upload")[:MOST_NAME_CHARS], folder / f"upload-{len(uploads)}"))
                await run_sync(_copy, item.file, uploads[-1].path)
    finally:
        await form.close()
    if not uploads:
        raise InvalidRequestError(f"the form has no file in a field `{FIELD}`", param=FIELD, code="no_file")
    return uploads, fields


async def _write(pieces: AsyncGenerator[bytes], path: Path) -> None:
    """Write them, a megabyte at a time: each write is a thread's."""
    async with await anyio.open_file(path, "wb") as file:
        gathered: list[bytes] = []
        size = 0
        async for piece in pieces:
            gathered.append(piece)
            size += len(piece)
            if size >= PIECE_BYTES:
                await file.write(b"".join(gathered))
                gathered, size = [], 0
        await file.write(b"".join(gathered))


def _copy(file: IO[bytes], path: Path) -> None:
    with path.open("wb") as out:
        shutil.copyfileobj(file, out, PIECE_BYTES)
