"""What a session is opened with beside its character: who the user plays, and the lorebooks that go along."""

from collections.abc import Sequence

from app.sessions.books import attached, load_books
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
        self, card: CharacterCard, chosen: Sequence[str] = (), persona: PersonaRecord | None = None
    ) -> tuple[tuple[str, Lorebook], ...]:
        """The books of a session: `chosen` for it, its persona's, then its character's.

        Raises InvalidRequestError when one of `chosen` isn't there; those of the others may have gone.
        """
        others = [*(persona.lorebook_ids if persona else ()), *attached(card)]
        known = await self.lorebooks.known(others) if others else []
        wanted = [*chosen, *known]
        return tuple(await load_books(self.lorebooks, wanted)) if wanted else ()
