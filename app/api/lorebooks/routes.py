"""Lorebooks of their own: register one of any kind, list, read, change, take home, try out."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.api.characters.exports import attachment
from app.api.http.body import JsonRoute
from app.api.http.deps import CharactersDep, LorebooksDep, ShelfDep, TurnsDep, open_lorebooks
from app.api.http.etags import IfMatch, check_match, etag, placed
from app.api.http.records import Cursor, Limit, NameQuery, record_routes
from app.api.lorebooks.body import BookBody, record_to_wire
from app.api.lorebooks.receiving import BookReader, BookReaderDep, receive_book
from app.api.lorebooks.trial import LoreTrial
from app.store.lorebooks import LorebookRecord, LorebookStore, StoredBook
from characters.card import slug
from characters.formats.lorebooks import write_sillytavern, write_v3

router = APIRouter(prefix="/lorebooks", tags=["lorebooks"], route_class=JsonRoute)

# For /docs: bodies are read by hand, for what they hold may be a file.
ANY_BOOK: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "id": {"type": "string"},
                        "name": {"type": "string"},
                    },
                    "required": ["file"],
                }
            },
        },
    }
}
JSON_PATCH: dict[str, Any] = {"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}}
WRITERS = {"v3": write_v3, "sillytavern": write_sillytavern}


@router.post("", status_code=201, response_model=None, openapi_extra=ANY_BOOK)
async def create_lorebook(request: Request, lorebooks: LorebooksDep, reader: BookReaderDep) -> Response:
    """Register a book of any kind that stands alone, as JSON or as a file; `id` and `name` may stand beside it."""
    sent = await receive_book(request)
    chosen, book = await reader.run(len(sent.blob), sent.read)
    if chosen is None:
        record = await lorebooks.create_unnamed(LorebookRecord(slug(book.name, "lorebook"), 1, book))
    else:
        record = await lorebooks.create(LorebookRecord(chosen, 1, book))
    return await _written(reader, record, 201, placed("lorebooks", record))


@router.get("")
async def list_lorebooks(
    lorebooks: LorebooksDep,
    q: NameQuery = "",
    cursor: Cursor = "",
    limit: Limit = 50,
) -> dict[str, Any]:
    """A page of lorebooks, without their entries; pass `next_cursor` as `cursor` for the next one."""
    summaries, following = await lorebooks.summaries(after=cursor, limit=limit, query=q)
    return {"lorebooks": [asdict(summary) for summary in summaries], "next_cursor": following}


@router.post("/test", response_model=None)
async def test_lorebook(body: LoreTrial, turns: TurnsDep, shelf: ShelfDep, characters: CharactersDep) -> Response:
    """Which entries of a book fire for a text or a chat, and why the others don't."""
    return Response(await body.run(turns.engine, shelf, characters), media_type="application/json")


@router.put("/{lorebook_id}", response_model=None, openapi_extra=ANY_BOOK)
async def replace_lorebook(
    lorebook_id: str, request: Request, lorebooks: LorebooksDep, reader: BookReaderDep, if_match: IfMatch = None
) -> Response:
    """Put another book in its place, of any kind; it keeps its name where that brings none."""
    return await _rewrite(lorebook_id, request, lorebooks, reader, if_match, BookBody.replace)


@router.patch("/{lorebook_id}", response_model=None, openapi_extra=JSON_PATCH)
async def change_lorebook(
    lorebook_id: str, request: Request, lorebooks: LorebooksDep, reader: BookReaderDep, if_match: IfMatch = None
) -> Response:
    """Merge a patch (RFC 7396) into `data`; bare fields are the book's own. `entries` is replaced as a whole."""
    return await _rewrite(lorebook_id, request, lorebooks, reader, if_match, BookBody.patch)


async def _rewrite(
    lorebook_id: str,
    request: Request,
    lorebooks: LorebookStore,
    reader: BookReader,
    if_match: str | None,
    rewrite: Callable[[BookBody, StoredBook], StoredBook],
) -> Response:
    sent = await receive_book(request)

    async def change(record: LorebookRecord) -> dict[str, StoredBook]:
        check_match(record, if_match)
        size_bytes = len(sent.blob) + len(record.book.text)
        return {"book": await reader.run(size_bytes, rewrite, sent, record.book)}

    record = await lorebooks.rewrite(lorebook_id, change, insist=if_match is None)
    return await _written(reader, record, 200, {"etag": etag(record)})


@router.get("/{lorebook_id}/export", response_model=None)
async def export_lorebook(
    lorebook_id: str,
    lorebooks: LorebooksDep,
    target: Annotated[Literal["v3", "sillytavern"], Query(alias="format")] = "v3",
) -> Response:
    """The book as a file: V3's, or SillyTavern's world info."""
    record = await lorebooks.get(lorebook_id)
    write = WRITERS[target]
    blob = await lorebooks.beside(lambda: orjson.dumps(write(record.book.read())))
    named = {"content-disposition": attachment(record.name, record.id, "json")}
    return Response(blob, headers=named, media_type="application/json")


async def _written(reader: BookReader, record: LorebookRecord, status: int, headers: dict[str, str]) -> Response:
    blob = await reader.run(len(record.book.text), record_to_wire, record)
    return Response(blob, status, headers, "application/json")


async def _answer(lorebooks: LorebookStore, record: LorebookRecord) -> Response:
    blob = await lorebooks.beside(partial(record_to_wire, record))
    return Response(blob, 200, {"etag": etag(record)}, "application/json")


async def _versions(lorebooks: LorebookStore, lorebook_id: str, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Without entries."""
    summaries = await lorebooks.version_summaries(lorebook_id, before=before, limit=limit)
    return [asdict(summary) for summary in summaries]


router.include_router(record_routes(open_lorebooks, _answer, _versions))
