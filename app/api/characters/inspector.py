"""The inspector: what the model is shown of a character, block by block."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.api.http.deps import CharactersDep, SessionsDep, ShelfDep, TurnsDep
from app.errors import InvalidRequestError, quoted
from app.sessions.inspection import inspect_prompt
from app.sessions.opening import open_session
from app.sessions.voices import read_voice
from models.scene import UserPersona

router = APIRouter(prefix="/characters", tags=["characters"])


@router.get("/{character_id}/prompt")
async def read_prompt(
    character_id: str,
    characters: CharactersDep,
    sessions: SessionsDep,
    shelf: ShelfDep,
    turns: TurnsDep,
    session: Annotated[
        str | None,
        Query(description="A session with the character, or where it is one of the cast; else one that begins."),
    ] = None,
    text: Annotated[str, Query(max_length=20_000, description="What the user says next.")] = "",
) -> dict[str, Any]:
    """The prompt of the next turn: `{blocks: [{name, part, role, text, tokens}], warnings, …}`."""
    turns.renderer.check_length(text)
    record = await characters.get(character_id)
    if session is None:
        user = UserPersona()
        model, books = turns.engine.model_id, await shelf.books(record.card)
        opened = open_session(record, user, turns.renderer, model=model, books=books)
        opened = await turns.preparation.with_head(opened)
    else:
        opened = await sessions.get(session)
        if opened.character_id != character_id and opened.member(character_id) is None:
            told = f"the session {quoted(session)} is with {opened.character_id!r}, not {character_id!r}"
            raise InvalidRequestError(told, param="session")
    member = opened.member(character_id)
    inspection = asdict(await inspect_prompt(turns, opened, text, speaker=character_id if member else None))
    kept = (member.revision, member.version) if member else (opened.revision, opened.character_version)
    if not opened.follows and kept[0] != record.revision:
        pinned = f"the session keeps version {kept[1]} of the character, which has {record.version}"
        inspection["warnings"].append(pinned)
    if fault := await turns.voices.fault(read_voice(member.card if member else opened.card)):
        inspection["warnings"].append(fault)
    return inspection
