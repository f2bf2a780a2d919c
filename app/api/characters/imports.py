"""Files as characters: cards of any format, ZIPs of many, lorebooks that stand alone; each file has its own result."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from app.api.http.deps import CharactersDep, LorebooksDep, SettingsDep, WorkerDep
from app.api.http.upload import MOST_NAME_CHARS, FolderDep, Upload, describe_upload, open_folder, receive_uploads
from app.api.lorebooks.body import build_book
from app.errors import ApiError, InvalidRequestError, UnavailableError
from app.store.characters import CharacterRecord, CharacterStore
from app.store.lorebooks import LorebookRecord, LorebookStore
from app.worker.pool import FileBeyondError, Worker
from app.worker.reading import MOST_FILES, Found, find_file, read_upload
from characters.card import CardError, CharacterCard, slug
from characters.lorebook import Lorebook

router = APIRouter(prefix="/characters", tags=["characters"])

FILES = describe_upload({"type": "array", "items": {"type": "string", "format": "binary"}})

# Files of a ZIP that may each take the worker's whole time until the rest is left unread.
MOST_GIVEN_UP = 8

Result = dict[str, Any]


@router.post("/import", response_model=None, openapi_extra=FILES)
async def import_characters(
    request: Request,
    folder: FolderDep,
    characters: CharactersDep,
    lorebooks: LorebooksDep,
    worker: WorkerDep,
    settings: SettingsDep,
    name: Annotated[str, Query(max_length=MOST_NAME_CHARS, description="What a body of one file is called.")] = "",
) -> Response:
    """Cards in JSON, PNG, CHARX or YAML, ZIPs of many, standalone lorebooks: as files of a form, or one as the body."""
    uploads = await receive_uploads(request, folder, settings.max_import_bytes, name)
    importing = Importing(characters, lorebooks, worker, [])
    for upload in uploads:
        await importing.take(upload, prefix=f"{upload.name}/" if len(uploads) > 1 else "")
    return _answer(importing.results)


@dataclass(frozen=True, slots=True)
class Importing:
    """An import under way: where its characters and lorebooks go, who reads them, and the files' results so far."""

    characters: CharacterStore
    lorebooks: LorebookStore
    worker: Worker
    results: list[Result]

    async def take(self, upload: Upload, prefix: str) -> None:
        """Read the upload and store what is in it; `prefix` stands before the paths in a ZIP."""
        start: int | None = 0
        most, given_up = MOST_FILES, 0
        try:
            while (place := start) is not None:
                try:
                    start = await self._take_some(upload, prefix, place, most)
                except FileBeyondError as error:
                    path, following = await self.worker.run(find_file, upload.path, place)
                    if path is not None and most > 1:
                        # One of them took the others along: it shows itself when each is read alone.
                        most = 1
                        continue
                    self._tell(_name(upload, prefix, path), self._refusal(error))
                    start, most, given_up = following, MOST_FILES, given_up + 1
                    if start is not None and given_up == MOST_GIVEN_UP:
                        raise
        except (CardError, ApiError) as error:
            self._tell(upload.name, self._refusal(error))

    async def _take_some(self, upload: Upload, prefix: str, start: int, most: int) -> int | None:
        """Store up to `most` files from the `start`th on; returns where to go on, None at the end."""
        async with open_folder() as folder:
            founds, following = await self.worker.run(read_upload, upload.path, folder, start, most)
            for found in founds:
                name = _name(upload, prefix, found.path)
                self._tell(name, await self._keep(name, found, folder))
        return following

    def _tell(self, name: str, result: Result) -> None:
        self.results.append({"file": name, **result})

    async def _keep(self, name: str, found: Found, folder: Path) -> Result:
        try:
            match found.item:
                case CharacterCard() as card:
                    return await self._keep_card(card, found, folder)
                case Lorebook() as book:
                    return await self._keep_book(name, book, found)
                case CardError() as error:
                    return self._refusal(error)
        except (CardError, ApiError) as error:
            return self._refusal(error)

    def _refusal(self, error: CardError | ApiError) -> Result:
        """What is told of a file that wasn't imported. Raises UnavailableError where nothing was before it."""
        if isinstance(error, UnavailableError) and all("error" in result for result in self.results):
            raise error
        code = error.code if isinstance(error, CardError) else error.error_code
        return {"error": {"message": str(error), "code": code}}

    async def _keep_card(self, card: CharacterCard, found: Found, folder: Path) -> Result:
        blobs = {name: await run_sync((folder / name).read_bytes) for name in set(found.files.values())}
        new = CharacterRecord(
            slug(card.data.name),
            1,
            card,
            files=found.files,
            warnings=found.warnings,
            lore_warnings=found.lore_warnings,
        )
        record = await self.characters.create_unnamed(new, blobs)
        return {"id": record.id, "name": card.data.name, "warnings": [*found.warnings, *found.lore_warnings]}

    async def _keep_book(self, name: str, book: Lorebook, found: Found) -> Result:
        told = (book.name or "").strip() or PurePosixPath(name).stem
        kept = await self.lorebooks.beside(partial(build_book, book, found.warnings, told))
        record = await self.lorebooks.create_unnamed(LorebookRecord(slug(kept.name, "lorebook"), 1, kept))
        return {"lorebook_id": record.id, "name": record.name, "warnings": list(kept.warnings)}


def _name(upload: Upload, prefix: str, path: str | None) -> str:
    return upload.name if path is None else f"{prefix}{path}"


def _answer(results: list[Result]) -> Response:
    """200 when something was imported, else 400 with what was wrong with the first file, and all results."""
    refused = [result for result in results if "error" in result]
    if len(refused) < len(results):
        return JSONResponse({"results": results})
    first: Result = refused[0]["error"]
    message = (
        first["message"] if len(refused) == 1 else f"none of {len(refused)} files was imported: {first['message']}"
    )
    error = InvalidRequestError(message, param="file", code=first["code"])
    return JSONResponse({**error.body(), "results": results}, error.status)
