"""What is stored under an id and changed version by version: what all kinds of it have in common."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol, Self, TypeVar

NO_FILES: Mapping[str, bytes] = MappingProxyType({})


class Record(Protocol):
    """A frozen dataclass. `version` counts its changes from 1; `revision` is another at every write: its ETag."""

    @property
    def id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def revision(self) -> str: ...
    @property
    def updated(self) -> float: ...
    @property
    def name(self) -> str: ...
    @property
    def tags(self) -> list[str]: ...

    def dumps(self) -> bytes: ...
    @classmethod
    def loads(cls, raw: bytes) -> Self: ...


R = TypeVar("R", bound=Record)


def new_revision() -> str:
    """Another at every write, also to an id that was deleted and taken again."""
    return secrets.token_hex(8)


def changed(record: R, **changes: Any) -> R:  # of any field
    """`record`, which is a dataclass, with other values in some fields."""
    made: R = replace(record, **changes)  # type: ignore[type-var]  # a protocol can't say that it is a dataclass
    return made


def written(record: R, version: int, **changes: Any) -> R:  # of any field
    """`record` with `changes` as it is written now, as this version."""
    return changed(record, **changes, version=version, revision=new_revision(), updated=time.time())
