"""Opening sessions, and changing what they were opened with."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field, model_validator
from starlette.responses import JSONResponse, Response

from app.api.http.body import JsonRoute
from app.api.http.deps import CharactersDep, SessionsDep, ShelfDep, TurnsDep
from app.errors import InvalidRequestError, clipped
from app.sessions.books import MAX_BOOKS
from app.sessions.cast import MOST_CAST, Member, TurnOrder, check_cast
from app.sessions.opening import open_scene, open_session
from app.sessions.recollection import EARLIEST, LATEST, parse_as_of
from app.sessions.session import Session
from app.sessions.shelf import Shelf
from app.sessions.turns import Turns
from app.store.characters import CharacterStore
from app.store.personas import PersonaRecord
from characters.card import DEFAULT_USER
from characters.lore.placement import DEFAULT_DEPTH
from characters.profile import one_line
from models.scene import Note, UserPersona

router = APIRouter(prefix="/sessions", tags=["sessions"], route_class=JsonRoute)

CharacterId = Annotated[str, Field(max_length=200)]
Private = Annotated[str, Field(max_length=20_000)]
LorebookIds = Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=MAX_BOOKS)]


class User(BaseModel):
    """Who the user plays: a stored persona's id, a name and a persona, or both, where the words win. Null is absent.

    `icon` names one of the card's pictures for users, for lorebooks that ask for it (V3's `@@is_user_icon`). `id` says
    whose the session is, and stays.
    """

    name: str | None = Field(None, min_length=1, max_length=100)
    persona: str | None = Field(None, max_length=8000)
    icon: str | None = Field(None, max_length=200)
    persona_id: str | None = Field(None, max_length=100)
    id: str | None = Field(None, max_length=200)

    async def stored(self, shelf: Shelf) -> PersonaRecord | None:
        """The stored persona that is named. Raises NotFoundError."""
        return await shelf.persona(self.persona_id) if self.persona_id else None

    def plays(self, stored: PersonaRecord | None = None) -> UserPersona:
        name = one_line(self.name or "") or (stored.name if stored else DEFAULT_USER)
        persona = self.persona if self.persona is not None else stored.persona if stored else ""
        icon = self.icon if self.icon is not None else stored.icon if stored else ""
        return UserPersona(name, persona, icon.strip())


class AuthorsNote(BaseModel):
    """The author's note. Depth and role count for characters with the layout `compat` alone."""

    text: str = Field(max_length=20_000)
    depth: int = Field(DEFAULT_DEPTH, ge=0, le=10_000)
    role: Literal["system", "user", "assistant"] = "system"

    def to_note(self) -> Note:
        return Note(self.text, self.depth, self.role)


class SessionRequest(BaseModel):
    """A session to open: `greeting` is the number of one of the card's, a text of your own, or null for none.

    The session keeps the character as it is now; with `follow` it changes as the character does. Several
    `character_ids` play the `scene`; `motives` and `knowledge` are told to one of them each, by id, and to nobody else.
    """

    character_id: str | None = None
    character_ids: Annotated[list[CharacterId], Field(min_length=1, max_length=1000)] | None = None
    scene: str | None = Field(None, max_length=20_000)
    motives: dict[CharacterId, Private] | None = None
    knowledge: dict[CharacterId, Private] | None = None
    turn_order: TurnOrder | None = None
    user: User | None = None
    greeting: Annotated[int, Field(ge=0)] | Annotated[str, Field(max_length=20_000)] | None = 0
    lorebook_ids: LorebookIds | None = None
    note: AuthorsNote | None = None
    follow: bool | None = None
    memory: Literal["on", "off"] | None = None

    @model_validator(mode="after")
    def _one_or_several(self) -> "SessionRequest":
        if (self.character_id is None) == (self.character_ids is None):
            raise ValueError("say with whom: `character_id`, or `character_ids` for a cast")
        if self.character_ids is None and (self.scene or self.motives or self.knowledge or self.turn_order):
            raise ValueError("`scene`, `motives`, `knowledge` and `turn_order` are for a cast: give `character_ids`")
        unknown = {*(self.motives or {}), *(self.knowledge or {})} - set(self.character_ids or [])
        if unknown:
            raise ValueError(f"{clipped(min(unknown))!r} is none of `character_ids`")
        return self

    async def cast(self, characters: CharacterStore, shelf: Shelf) -> list[Member]:
        """Raises NotFoundError for a character that isn't there, and InvalidRequestError for too many."""
        ids = list(dict.fromkeys(self.character_ids or []))
        if len(ids) > MOST_CAST:
            told = f"a cast of {len(ids)} is too large; at most {MOST_CAST} play together"
            raise InvalidRequestError(told, param="character_ids", code="cast_too_large")
        motives, knowledge = self.motives or {}, self.knowledge or {}
        return [
            Member(
                record.id,
                record.card,
                motives.get(record.id, ""),
                knowledge.get(record.id, ""),
                await shelf.books(record.card),
                record.version,
                record.revision,
            )
            for record in [await characters.get(character_id) for character_id in ids]
        ]


class SessionPatch(BaseModel):
    """What to change; what isn't there stays. A `note` of null is none.

    Memories of what came after `as_of` aren't told: a time in seconds, a date, a message's id; null is no limit.
    """

    lorebook_ids: LorebookIds | None = None
    note: AuthorsNote | None = None
    follow: bool | None = None
    user: User | None = None
    memory: Literal["on", "off"] | None = None
    as_of: (
        Annotated[float, Field(ge=EARLIEST, le=LATEST, allow_inf_nan=False)]
        | Annotated[str, Field(max_length=100)]
        | None
    ) = None


@router.post("", status_code=201, response_model=None)
async def create_session(
    body: SessionRequest, turns: TurnsDep, sessions: SessionsDep, characters: CharactersDep, shelf: ShelfDep
) -> Response:
    """Open a session; a character's greeting is its first message."""
    session = await open_requested(body, turns, characters, shelf)
    await turns.voices.check(session)
    session = await turns.preparation.with_head(session)
    turns.prompts.check_opening(session)
    session = await sessions.create(session)
    turns.afterwards.opened(session)
    wire = session.to_wire() | {"messages": [message.to_wire() for message in session.branch()]}
    return JSONResponse(wire, 201, {"location": f"/sessions/{session.id}"})


async def open_requested(body: SessionRequest, turns: Turns, characters: CharacterStore, shelf: Shelf) -> Session:
    """The session that is asked for, without its head, and not stored. Raises NotFoundError, InvalidRequestError."""
    said = body.user or User()
    persona = await said.stored(shelf)
    chosen, persona_id = body.lorebook_ids or [], persona.id if persona else None
    settings: dict[str, Any] = {
        "greeting": body.greeting,
        "lorebook_ids": tuple(chosen),
        "persona_id": persona_id,
        "user_id": (said.id or "").strip() or None,
        "model": turns.engine.model_id,
        "note": body.note.to_note() if body.note else Note(),
        "follows": bool(body.follow),
        "memory": body.memory or "on",
    }
    user = said.plays(persona)
    if body.character_ids is not None:
        cast = await body.cast(characters, shelf)
        # Each member's own books are told to it alone.
        settings["books"] = await shelf.books(None, chosen, persona_id)
        scene = body.scene or ""
        return open_scene(cast, user, turns.renderer, scene=scene, turn_order=body.turn_order or "list", **settings)
    assert body.character_id is not None
    record = await characters.get(body.character_id)
    settings["books"] = await shelf.books(record.card, chosen, persona_id)
    return open_session(record, user, turns.renderer, **settings)


@router.patch("/{session_id}")
async def change_session(session_id: str, body: SessionPatch, turns: TurnsDep, shelf: ShelfDep) -> dict[str, Any]:
    """Change note, lorebooks, user, what it remembers, or whether it follows its character. Its next prompt is new."""

    async def change(session: Session) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        chosen, persona_id = session.lorebook_ids, session.persona_id
        if body.user is not None:
            if body.user.id and body.user.id.strip() != session.user_id:
                raise InvalidRequestError("a session stays the user's for whom it was opened", param="user.id")
            persona = await body.user.stored(shelf)
            persona_id = persona.id if persona else None
            changes |= {"user": body.user.plays(persona), "persona_id": persona_id}
            check_cast(session.cast, changes["user"].name)
        if body.lorebook_ids is not None:
            changes["lorebook_ids"] = chosen = tuple(body.lorebook_ids)
        if body.lorebook_ids is not None or body.user is not None:
            changes["books"] = await shelf.books(session.card, chosen, persona_id)
        if "note" in body.model_fields_set:
            changes["note"] = body.note.to_note() if body.note else Note()
        if body.follow is not None:
            changes["follows"] = body.follow
        if body.memory is not None:
            changes["memory"] = body.memory
        if "as_of" in body.model_fields_set:
            changes["as_of"] = parse_as_of(session, body.as_of)
        return changes

    return (await turns.change(session_id, change)).to_wire()
