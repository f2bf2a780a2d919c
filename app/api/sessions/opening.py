"""Opening sessions, and changing what they were opened with."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from app.api.http.body import JsonRoute
from app.api.http.deps import CharactersDep, SessionsDep, ShelfDep, TurnsDep
from app.sessions.books import MAX_BOOKS
from app.sessions.session import Session, open_session
from app.sessions.shelf import Shelf
from app.store.personas import PersonaRecord
from characters.card import DEFAULT_USER
from characters.lore.placement import DEFAULT_DEPTH
from characters.profile import one_line
from models.sections import Note, UserPersona

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=JsonRoute)

LorebookIds = Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=MAX_BOOKS)]


class User(BaseModel):
    """Who the user plays: a stored persona's id, a name and a persona, or both, where the words win. Null is absent."""

    name: str | None = Field(None, min_length=1, max_length=100)
    persona: str | None = Field(None, max_length=8000)
    persona_id: str | None = Field(None, max_length=100)

    async def stored(self, shelf: Shelf) -> PersonaRecord | None:
        """The stored persona that is named. Raises NotFoundError."""
        return await shelf.persona(self.persona_id) if self.persona_id else None

    def plays(self, stored: PersonaRecord | None = None) -> UserPersona:
        name = one_line(self.name or "") or (stored.name if stored else DEFAULT_USER)
        return UserPersona(name, self.persona if self.persona is not None else stored.persona if stored else "")


class AuthorsNote(BaseModel):
    """The author's note. Depth and role count for characters with the layout `compat` alone."""

    text: str = Field(max_length=20_000)
    depth: int = Field(DEFAULT_DEPTH, ge=0, le=10_000)
    role: Literal["system", "user", "assistant"] = "system"

    def to_note(self) -> Note:
        return Note(self.text, self.depth, self.role)


class SessionRequest(BaseModel):
    """A session to open: `greeting` is the number of one of the card's, a text of your own, or null for none.

    The session keeps the character as it is now; with `follow` it changes as the character does.
    """

    character_id: str
    user: User | None = None
    greeting: Annotated[int, Field(ge=0)] | Annotated[str, Field(max_length=20_000)] | None = 0
    lorebook_ids: LorebookIds | None = None
    note: AuthorsNote | None = None
    follow: bool | None = None


class SessionPatch(BaseModel):
    """What to change; what isn't there stays. A `note` of null is none."""

    lorebook_ids: LorebookIds | None = None
    note: AuthorsNote | None = None
    follow: bool | None = None
    user: User | None = None


@router.post("", status_code=201, response_model=None)
async def create_session(
    body: SessionRequest, turns: TurnsDep, sessions: SessionsDep, characters: CharactersDep, shelf: ShelfDep
) -> Response:
    """Open a session; the character's greeting is its first message."""
    record = await characters.get(body.character_id)
    said = body.user or User()
    persona = await said.stored(shelf)
    user = said.plays(persona)
    chosen = body.lorebook_ids or []
    session = open_session(
        record,
        user,
        turns.renderer,
        greeting=body.greeting,
        lorebook_ids=tuple(chosen),
        persona_id=persona.id if persona else None,
        books=await shelf.books(record.card, chosen, persona.id if persona else None),
        note=body.note.to_note() if body.note else Note(),
        follows=bool(body.follow),
    )
    session = await turns.preparation.with_head(session)
    turns.check_opening(session)
    session = await sessions.create(session)
    turns.afterwards.opened(session)
    messages = [message.to_wire() for message in session.branch()]
    wire = session.to_wire() | {"messages": messages}
    return JSONResponse(wire, 201, {"location": f"/sessions/{session.id}"})


@router.patch("/{session_id}")
async def change_session(session_id: str, body: SessionPatch, turns: TurnsDep, shelf: ShelfDep) -> dict[str, Any]:
    """Change note, lorebooks, user, or whether it follows its character. Its next prompt is read anew."""

    async def change(session: Session) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        chosen, persona_id = session.lorebook_ids, session.persona_id
        if body.user is not None:
            persona = await body.user.stored(shelf)
            persona_id = persona.id if persona else None
            changes |= {"user": body.user.plays(persona), "persona_id": persona_id}
        if body.lorebook_ids is not None:
            changes["lorebook_ids"] = chosen = tuple(body.lorebook_ids)
        if body.lorebook_ids is not None or body.user is not None:
            changes["books"] = await shelf.books(session.card, chosen, persona_id)
        if "note" in body.model_fields_set:
            changes["note"] = body.note.to_note() if body.note else Note()
        if body.follow is not None:
            changes["follows"] = body.follow
        return changes

    return (await turns.change(session_id, change)).to_wire()
