"""A session's memories: looked at, searched, written by hand, changed and forgotten. What was said stays as it is."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, Field, field_validator
from starlette.responses import JSONResponse, Response

from app.api.http.body import JsonRoute
from app.api.http.deps import MemoryDep
from app.sessions.ids import new_id
from app.sessions.memory import Memory
from app.sessions.receipts import own_name
from app.sessions.recollection import EARLIEST, LATEST
from app.store.memories import MemoryRecord
from characters.profile import one_line
from models.embedding import Vectors
from models.memory.extraction import Kind
from models.memory.mood import Emotion, mood_name

router = APIRouter(prefix="/sessions", tags=["memories"], route_class=JsonRoute)

MOST_CHARACTERS = 2000
MOST_IMPORTED = 500
MOST_DIMENSIONS = 8192

Text = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
At = Annotated[float, Field(ge=EARLIEST, le=LATEST, allow_inf_nan=False)]


class MemoryPatch(BaseModel):
    """What to change of a memory; what isn't there stays. A `mood` of null is none; `enabled` false: it isn't told."""

    text: Text | None = None
    kind: Kind | None = None
    at: At | None = None
    mood: Emotion | None = None
    enabled: bool | None = None

    @field_validator("text")
    @classmethod
    def _says_something(cls, text: str | None) -> str | None:
        if text is not None and not one_line(text):
            raise ValueError("a memory says something")
        return one_line(text) if text is not None else None

    def changes(self) -> dict[str, Any]:
        """Fields of a record."""
        given = {name: getattr(self, name) for name in MemoryPatch.model_fields if name in self.model_fields_set}
        return {name: value for name, value in given.items() if value is not None or name == "mood"}


class NewMemory(MemoryPatch):
    """A memory that somebody writes: what and, where it isn't now, when. `vector` is one of the server's model."""

    text: Text
    vector: Annotated[list[float], Field(max_length=MOST_DIMENSIONS)] | None = None

    def to_record(self, number: int) -> MemoryRecord:
        """The record; of a request that is sent again, memory `number` has the same id, and isn't written beside it."""
        name = own_name("memory", str(number))
        return MemoryRecord(f"mem_{name}" if name else new_id("mem"), **self.changes())


# Of one memory or of an import, told apart by its keys.
MemoryBody = Annotated[dict[str, Any], Body()]


class MemoryImport(BaseModel):
    """Many at once: all of them are stored, or none."""

    memories: Annotated[list[NewMemory], Field(min_length=1, max_length=MOST_IMPORTED)]


@router.get("/{session_id}/memories")
async def list_memories(
    session_id: str,
    memory: MemoryDep,
    q: Annotated[str, Query(max_length=2000, description="What to look for; the best come first, with scores.")] = "",
    kind: Annotated[Kind | None, Query(description="Only memories of that kind.")] = None,
    cursor: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """A page of memories, the newest first; pass `next_cursor` as `cursor` for older ones. A search is one page."""
    if q.strip():
        found = await memory.search(session_id, q, most=limit, kind=kind)
        shown = [to_wire(record) | {"score": round(score, 4)} for record, score in found]
        return {"memories": shown, "next_cursor": None}
    records = [record for record in await memory.all(session_id) if kind in (None, record.kind)][::-1]
    page = records[cursor : cursor + limit]
    following = cursor + limit if cursor + limit < len(records) else None
    return {"memories": [to_wire(record) for record in page], "next_cursor": following}


@router.post("/{session_id}/memories", status_code=201, response_model=None)
async def create_memories(session_id: str, body: MemoryBody, memory: MemoryDep) -> Response:
    """Write a memory, or many as `memories`; the answer has the same shape."""
    if "memories" in body:
        records = await _add(session_id, MemoryImport.model_validate(body).memories, memory, "memories.{}.vector")
        return JSONResponse({"memories": [to_wire(record) for record in records]}, 201)
    [record] = await _add(session_id, [NewMemory.model_validate(body)], memory, "vector")
    return JSONResponse(to_wire(record), 201, {"location": f"/sessions/{session_id}/memories/{record.id}"})


@router.delete("/{session_id}/memories", status_code=204, response_model=None)
async def clear_memories(session_id: str, memory: MemoryDep) -> Response:
    """Forget everything; what is remembered already doesn't come back."""
    await memory.store.clear(session_id)
    return Response(status_code=204)


@router.get("/{session_id}/memories/{memory_id}")
async def read_memory(session_id: str, memory_id: str, memory: MemoryDep) -> dict[str, Any]:
    """One memory; `message_ids` are the messages it comes from."""
    record, _ = await memory.store.get(session_id, memory_id)
    return to_wire(record)


@router.patch("/{session_id}/memories/{memory_id}")
async def change_memory(session_id: str, memory_id: str, body: MemoryPatch, memory: MemoryDep) -> dict[str, Any]:
    """Change what is remembered, when it was, its mood, or whether it is told."""
    record, before = await memory.store.get(session_id, memory_id)
    return to_wire(await memory.change(session_id, before, record, body.changes()))


@router.delete("/{session_id}/memories/{memory_id}", status_code=204, response_model=None)
async def delete_memory(session_id: str, memory_id: str, memory: MemoryDep) -> Response:
    """Forget it; the messages it comes from stay."""
    await memory.store.delete(session_id, memory_id)
    return Response(status_code=204)


async def _add(session_id: str, bodies: list[NewMemory], memory: Memory, param: str) -> list[MemoryRecord]:
    vectors: list[Vectors | None] = [
        None if body.vector is None else await memory.meaning.check_vector(body.vector, param.format(index))
        for index, body in enumerate(bodies)
    ]
    records = [body.to_record(number) for number, body in enumerate(bodies)]
    await memory.add(session_id, records, vectors)
    return records


def to_wire(record: MemoryRecord) -> dict[str, Any]:
    """What clients see of a memory."""
    return {
        "id": record.id,
        "text": record.text,
        "kind": record.kind,
        "at": record.at,
        "mood": record.mood or mood_name(record.moods),
        "enabled": record.enabled,
        "message_ids": list(record.message_ids),
        "created": int(record.created),
    }
