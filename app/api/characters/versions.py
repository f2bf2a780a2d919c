"""A character as it was in one of its versions, with the files that it had."""

from typing import Annotated

from fastapi import Query

from app.api.http.records import MAX_VERSION
from app.store.characters import CharacterRecord, CharacterStore

VersionQuery = Annotated[int | None, Query(ge=1, lt=MAX_VERSION, description="As it was then, instead of now.")]


async def read_version(characters: CharacterStore, character_id: str, version: int | None) -> CharacterRecord:
    """The character, in this version where one is named. Raises NotFoundError."""
    record = await characters.get(character_id)
    return record if version is None else await characters.history.read(record, version)
