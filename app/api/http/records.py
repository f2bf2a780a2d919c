"""What all stored records have in common over HTTP: each is read, deleted, looked up as it was, and restored."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from app.api.http.body import JsonRoute
from app.api.http.etags import IfMatch, IfNoneMatch, check_match, etag, is_unchanged
from app.store.records import Records

MAX_VERSION = 2**53

# Of lists of records.
NameQuery = Annotated[str, Query(max_length=200, description="Part of the name.")]
Cursor = Annotated[str, Query(max_length=200)]
Limit = Annotated[int, Query(ge=1, le=200)]

VersionNumber = Annotated[int, Path(ge=1, lt=MAX_VERSION)]
VersionCursor = Annotated[int | None, Query(ge=1, lt=MAX_VERSION, description="Versions before this one.")]
VersionLimit = Annotated[int, Query(ge=1, le=50)]

# Each kind's store knows its own records, which `Show` is handed again.
S = TypeVar("S", bound=Records[Any])
Show = Callable[[S, Any], Awaitable[Response]]
# A page of versions of an id, newest first, before that number and at most so many, each as lists show it.
ListVersions = Callable[[S, str, int | None, int], Awaitable[Sequence[dict[str, Any]]]]


def record_routes(
    open_store: Callable[[Request], Awaitable[S]], show: Show[S], list_versions: ListVersions[S]
) -> APIRouter:
    """The routes, for a router that has the kind's prefix. `show` answers with a record as clients see it."""
    router = APIRouter(route_class=JsonRoute)

    @router.get("/{record_id}", response_model=None)
    async def read(record_id: str, store: S = Depends(open_store), if_none_match: IfNoneMatch = None) -> Response:
        """As it is now, with its version and its ETag."""
        return await _shown_unless(if_none_match, store, await store.get(record_id), show)

    @router.delete("/{record_id}", status_code=204, response_model=None)
    async def delete(record_id: str, store: S = Depends(open_store), if_match: IfMatch = None) -> Response:
        """Delete it, its versions and files; sessions that have begun with it go on."""
        record = await store.get(record_id)
        check_match(record, if_match)
        await store.delete(record)
        return Response(status_code=204)

    @router.get("/{record_id}/versions")
    async def read_versions(
        record_id: str, store: S = Depends(open_store), cursor: VersionCursor = None, limit: VersionLimit = 50
    ) -> dict[str, Any]:
        """A page of the versions that are kept, newest first; pass `next_cursor` as `cursor` for older ones."""
        versions = await list_versions(store, record_id, cursor, limit)
        more = len(versions) == limit and versions[-1]["version"] > 1
        return {"versions": versions, "next_cursor": versions[-1]["version"] if more else None}

    @router.get("/{record_id}/versions/{version}", response_model=None)
    async def read_version(
        record_id: str, version: VersionNumber, store: S = Depends(open_store), if_none_match: IfNoneMatch = None
    ) -> Response:
        """As it was then."""
        record = await store.history.read(await store.get(record_id), version)
        return await _shown_unless(if_none_match, store, record, show)

    @router.post("/{record_id}/versions/{version}/restore", response_model=None)
    async def restore_version(
        record_id: str, version: VersionNumber, store: S = Depends(open_store), if_match: IfMatch = None
    ) -> Response:
        """Make what it was then, files and all, its next version."""
        record = await store.get(record_id)
        check_match(record, if_match)
        return await show(store, await store.restore(record, version))

    return router


async def _shown_unless(if_none_match: str | None, store: S, record: Any, show: Show[S]) -> Response:
    """The record, or 304 where the client has it in this state."""
    if is_unchanged(record, if_none_match):
        return Response(status_code=304, headers={"etag": etag(record)})
    return await show(store, record)
