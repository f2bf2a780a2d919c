"""Personas in Redis: who users play, and the lorebooks that belong to them."""

import time
from dataclasses import dataclass, field

import orjson
from redis.asyncio import Redis

from app.store.record import new_revision
from app.store.records import MOST_VERSIONS, Records


@dataclass(frozen=True, slots=True)
class PersonaRecord:
    """A stored persona, as `Record` says. `persona` is what the model is told of the user, `icon` names a picture."""

    id: str
    version: int
    name: str
    persona: str = ""
    icon: str = ""
    lorebook_ids: tuple[str, ...] = ()
    revision: str = field(default_factory=new_revision)
    updated: float = field(default_factory=time.time)

    @property
    def tags(self) -> list[str]:
        return []

    def dumps(self) -> bytes:
        return orjson.dumps(self)

    @classmethod
    def loads(cls, raw: bytes) -> "PersonaRecord":
        value = orjson.loads(raw)
        return cls(**value | {"lorebook_ids": tuple(value["lorebook_ids"])})


class PersonaStore(Records[PersonaRecord]):
    """The personas' records."""

    def __init__(self, redis: Redis, *, most_versions: int = MOST_VERSIONS) -> None:
        super().__init__(redis, "personas", PersonaRecord, noun="persona", most_versions=most_versions)
