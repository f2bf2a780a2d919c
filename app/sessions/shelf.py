"""What a session is opened with beside its character: who the user plays, and the lorebooks that go along."""

from collections.abc import Sequence

from app.errors import NotFoundError
from app.sessions.books import MAX_BOOKS, attached, load_books
from app.store.lorebooks import LorebookStore
from app.store.personas import PersonaRecord, PersonaStore
from characters.card import CharacterCard
from characters.lorebook import Lorebook


class Shelf:
    """Lorebooks and personas, for sessions."""

    def __init__(self, lorebooks: LorebookStore, personas: PersonaStore) -> None:
        self.lorebooks = lorebooks
        self.personas = personas

    async def persona(self, persona_id: str) -> PersonaRecord:
        """Raises NotFoundError."""
        return await self.personas.get(persona_id)

    async def books(
        self, card: CharacterCard | None, chosen: Sequence[str] = (), persona_id: str | None = None
    ) -> tuple[tuple[str, Lorebook], ...]:
        """The books of a session: `chosen` for it, its persona's, then its character's, as many as go together.

        Raises InvalidRequestError when one of `chosen` isn't there; those of the others may have gone.
        """
        others = [*await self._personas_books(persona_id), *(attached(card) if card else [])]
        known = await self.lorebooks.known(others) if others else []
        wanted = list(dict.fromkeys([*chosen, *known]))[: max(MAX_BOOKS, len(chosen))]
        return tuple(await load_books(self.lorebooks, wanted)) if wanted else ()

    async def _personas_books(self, persona_id: str | None) -> Sequence[str]:
        if persona_id is None:
            return ()
        try:
            return (await self.personas.get(persona_id)).lorebook_ids
        except NotFoundError:  # deleted since
            return ()
