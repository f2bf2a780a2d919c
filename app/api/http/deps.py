"""What handlers are handed: the parts that the lifespan opened.

All are coroutines: FastAPI would run plain functions in a thread, each a hop of its own.
"""

from typing import Annotated

from fastapi import Depends, Request

from app.metrics import Metrics
from app.sessions.memory import Memory
from app.sessions.shelf import Shelf
from app.sessions.turns import Turns
from app.settings import Settings
from app.store.characters import CharacterStore
from app.store.lorebooks import LorebookStore
from app.store.personas import PersonaStore
from app.store.sessions import SessionStore
from app.store.transcripts import TranscriptStore
from app.worker.pool import Worker


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _turns(request: Request) -> Turns:
    turns: Turns = request.app.state.turns
    return turns


async def open_characters(request: Request) -> CharacterStore:
    characters: CharacterStore = request.app.state.characters
    return characters


async def open_lorebooks(request: Request) -> LorebookStore:
    lorebooks: LorebookStore = request.app.state.lorebooks
    return lorebooks


async def open_personas(request: Request) -> PersonaStore:
    personas: PersonaStore = request.app.state.personas
    return personas


async def _shelf(request: Request) -> Shelf:
    return Shelf(request.app.state.lorebooks, request.app.state.personas)


async def _sessions(request: Request) -> SessionStore:
    sessions: SessionStore = request.app.state.turns.sessions
    return sessions


async def _transcripts(request: Request) -> TranscriptStore:
    transcripts: TranscriptStore = request.app.state.transcripts
    return transcripts


async def _memory(request: Request) -> Memory:
    memory: Memory = request.app.state.memory
    return memory


async def _worker(request: Request) -> Worker:
    worker: Worker = request.app.state.worker
    return worker


async def _metrics(request: Request) -> Metrics:
    metrics: Metrics = request.app.state.metrics
    return metrics


SettingsDep = Annotated[Settings, Depends(_settings)]
TurnsDep = Annotated[Turns, Depends(_turns)]
CharactersDep = Annotated[CharacterStore, Depends(open_characters)]
LorebooksDep = Annotated[LorebookStore, Depends(open_lorebooks)]
PersonasDep = Annotated[PersonaStore, Depends(open_personas)]
ShelfDep = Annotated[Shelf, Depends(_shelf)]
SessionsDep = Annotated[SessionStore, Depends(_sessions)]
TranscriptsDep = Annotated[TranscriptStore, Depends(_transcripts)]
MemoryDep = Annotated[Memory, Depends(_memory)]
WorkerDep = Annotated[Worker, Depends(_worker)]
MetricsDep = Annotated[Metrics, Depends(_metrics)]
