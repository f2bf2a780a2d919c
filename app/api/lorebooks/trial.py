"""A lorebook tried out: what of it is told for a chat, and why the rest isn't."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import orjson
from pydantic import BaseModel, Field

from app.api.lorebooks.body import build_book
from app.api.sessions.opening import User
from app.errors import InvalidRequestError
from app.sessions.lore import BUDGET_SHARE, build_chat, compile_books, macros_of
from app.sessions.shelf import Shelf
from app.store.characters import CharacterStore
from app.store.lorebooks import StoredBook
from characters.calls import Context
from characters.card import CardData, CardError, CharacterCard
from characters.formats.document import clean
from characters.formats.lorebooks import build_lorebook_file
from characters.lore.activation import activate
from characters.lore.coercion import Coercion, first_warnings
from characters.lore.rule import Defaults, Rulebook
from characters.lore.search import EFFORT
from characters.lore.timing import LoreState
from models.engine import Engine
from models.scene import UserPersona

MAX_MESSAGES = 1000
MAX_MESSAGE_CHARACTERS = 200_000
# Turns before the last one that are played again, in the effort of one, for what lasts longer than a turn; and how many
# entries they look at together, 10 µs each.
REPLAYED_TURNS = 100
REPLAYED_ENTRIES = 100_000
# Nobody yet: names in a book stay `{{char}}`, and entries for certain characters don't fire.
ANYBODY = CharacterCard(data=CardData(name="{{char}}"))


class TrialMessage(BaseModel):
    """One message of the chat. The system's are no lorebook's to read."""

    role: Literal["user", "assistant", "system"]
    content: str = Field(max_length=MAX_MESSAGE_CHARACTERS)


class LoreTrial(BaseModel):
    """A lorebook, stored or as JSON of any kind, and what it is tried on: one thing said, or a chat.

    Each message of the user's has been a turn: what an earlier one leaves, as of a sticky entry, the last one finds.
    `seed` decides all chance; one that is drawn is told, for another try. `character_id` says who speaks, whom entries
    can be for and whom macros name; only the book that is tried is read.
    """

    lorebook_id: str | None = Field(None, max_length=200)
    lorebook: dict[str, Any] | None = None
    text: str | None = Field(None, max_length=MAX_MESSAGE_CHARACTERS)
    messages: list[TrialMessage] | None = Field(None, min_length=1, max_length=MAX_MESSAGES)
    seed: int | str | None = None
    user: User | None = None
    character_id: str | None = Field(None, max_length=200)

    async def run(self, engine: Engine, shelf: Shelf, characters: CharacterStore) -> bytes:
        """`{fired, not_fired, warnings, seed}` as JSON. Raises InvalidRequestError and NotFoundError."""
        _one_of("lorebook", lorebook_id=self.lorebook_id, lorebook=self.lorebook)
        _one_of("text", text=self.text, messages=self.messages)
        stored = None if self.lorebook_id is None else (await shelf.lorebooks.get(self.lorebook_id)).book
        card = ANYBODY if self.character_id is None else (await characters.get(self.character_id)).card
        who = self.user or User()
        user = who.plays(await who.stored(shelf))
        return await shelf.lorebooks.beside(partial(self._try, engine, stored, card, user))

    def _try(self, engine: Engine, stored: StoredBook | None, card: CharacterCard, user: UserPersona) -> bytes:
        said = [(one.role, one.content) for one in self.messages or ()] or [("user", self.text or "")]
        seed = secrets.token_hex(8) if self.seed is None else str(self.seed)
        defaults = Defaults(token_budget=int(engine.max_model_len * BUDGET_SHARE))
        kept = stored or _build(self.lorebook)
        name = self.lorebook_id or kept.name or "lorebook"
        (rulebook,) = compile_books([(name, kept.read())], card, user)
        known = {"model": engine.model_id}
        context = Context(seed=seed, chat=seed, now=datetime.now(UTC).astimezone(), known=known)
        turn = partial(
            activate, [rulebook], count_tokens=lambda text: len(engine.renderer.encode(text)), defaults=defaults
        )
        state = LoreState()
        earlier = _turns_before(said, len(rulebook.rules)) if _remembers(rulebook) else []
        expand = macros_of(card, user, context)
        for end in earlier:
            chat, effort = build_chat(card, user, said[:end]), EFFORT // len(earlier)
            state = turn(chat, seed=f"{seed}/{end}", state=state, expand=expand, effort=effort).state
        told = turn(build_chat(card, user, said), seed=seed, state=state, expand=macros_of(card, user, context))
        warnings = first_warnings([*kept.warnings, *rulebook.warnings])
        return orjson.dumps({**told.to_json(), "warnings": warnings, "seed": seed})


def _turns_before(said: Sequence[tuple[str, str]], entries: int) -> list[int]:
    """How much had been said on each of the latest turns before the last one."""
    most = min(REPLAYED_TURNS, REPLAYED_ENTRIES // entries)
    return [end for end, (role, _) in enumerate(said[:-1], 1) if role == "user"][-most:]


def _remembers(rulebook: Rulebook) -> bool:
    """Whether any turn of it depends on those before."""
    return any(
        rule.timing or rule.freezes or rule.condition.keeps_on or rule.condition.only_once for rule in rulebook.rules
    )


def _build(value: dict[str, Any] | None) -> StoredBook:
    """The book in the request, within the limits of one that is kept."""
    coercion = Coercion()
    try:
        file = build_lorebook_file(clean(value, coercion), coercion)
        return build_book(file.book, file.warnings)
    except CardError as error:
        raise InvalidRequestError(str(error), param="lorebook", code=error.code) from error


def _one_of(param: str, **given: object) -> None:
    """Raise InvalidRequestError unless just one of them is given."""
    if sum(value is not None for value in given.values()) != 1:
        one, other = given
        raise InvalidRequestError(f"give either `{one}` or `{other}`", param=param)
