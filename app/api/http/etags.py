"""ETags of stored records, and what a request's conditions make of them."""

from typing import Annotated

from fastapi import Header

from app.errors import PreconditionError, clipped
from app.store.record import Record

IfMatch = Annotated[str | None, Header(alias="If-Match")]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match")]


def etag(record: Record) -> str:
    """What stands for this record until its next change."""
    return f'"{record.revision}"'


def check_match(record: Record, if_match: str | None) -> None:
    """Raise PreconditionError when the client means another state of the record."""
    if if_match is not None and not is_met(if_match, etag(record)):
        raise PreconditionError(f"{record.id!r} has the ETag {etag(record)}, not {clipped(if_match)}: read it again")


def is_unchanged(record: Record, if_none_match: str | None) -> bool:
    """Whether the client has this state of the record already."""
    return is_met(if_none_match, etag(record))


def is_met(condition: str | None, tag: str) -> bool:
    """Whether a condition was sent, and `tag` is one of its ETags; weak ones count as strong."""
    return condition is not None and (condition.strip() == "*" or tag in _tags(condition))


def placed(collection: str, record: Record) -> dict[str, str]:
    """Headers of a record that was just made: its place and its ETag."""
    return {"location": f"/{collection}/{record.id}", "etag": etag(record)}


def _tags(condition: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in condition.split(",")]
