"""What a record was before: pages of its versions."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Path, Query

MAX_VERSION = 2**53

VersionNumber = Annotated[int, Path(ge=1, lt=MAX_VERSION)]
VersionCursor = Annotated[int | None, Query(ge=1, lt=MAX_VERSION, description="Versions before this one.")]
VersionLimit = Annotated[int, Query(ge=1, le=50)]


def page_versions(shown: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A page of versions, newest first, each as clients see it; `next_cursor` is null at the end."""
    more = bool(shown) and shown[-1]["version"] > 1
    return {"versions": list(shown), "next_cursor": shown[-1]["version"] if more else None}
