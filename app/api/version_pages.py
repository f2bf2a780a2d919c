"""What a record was before: pages of its versions."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Path, Query

from app.store.records import Record, Records

R = TypeVar("R", bound=Record)

MAX_VERSION = 2**53

VersionNumber = Annotated[int, Path(ge=1, lt=MAX_VERSION)]
VersionCursor = Annotated[int | None, Query(ge=1, lt=MAX_VERSION, description="Versions before this one.")]
VersionLimit = Annotated[int, Query(ge=1, le=50)]


async def page_versions(
    records: Records[R], record: R, cursor: int | None, limit: int, to_wire: Callable[[R], dict[str, Any]]
) -> dict[str, Any]:
    """A page of the record as it is and as it was, newest first; `next_cursor` is null at the end."""
    shown = await records.versions(record, before=cursor, limit=limit)
    more = bool(shown) and shown[-1].version > 1
    return {"versions": [to_wire(one) for one in shown], "next_cursor": shown[-1].version if more else None}
