"""Whose weights speak: the adapter that a character's card names, ready in the engine.

It stands in `extensions.opencharacter.adapter`, so a session keeps or follows it as it does the card. A character whose
adapter can't be used doesn't speak: never in another's voice, nor in the model's own.
"""

from collections.abc import Sequence

from app.errors import EngineDownError, VoiceError, quoted
from app.sessions.cast import next_in_list
from app.sessions.message import Message, Speaker
from app.sessions.session import Session
from app.store.adapters import AdapterStore
from characters.card import EXTENSION, CharacterCard
from models.adapters import Report
from models.engine import Adapter, Engine, EngineDeadError, EngineError

OFF = "the server has no adapters: set OPENCHARACTER_ADAPTERS_DIR, or take the adapter out of the character"


def read_voice(card: CharacterCard) -> str:
    """The name of the adapter that a card asks for; "" for none, which is the model's own voice."""
    ours = card.data.extensions.get(EXTENSION)
    named = ours.get("adapter") if isinstance(ours, dict) else None
    # What is no name is the name of no adapter, and refused as that.
    return named if isinstance(named, str) else "" if named is None else repr(named)


def turn_voice(session: Session, role: Speaker, speaker: str | None) -> str:
    """Who says the next message: of a cast the speaker, and nobody's adapter for the user's own line."""
    if role != "assistant":
        return ""
    member = session.member(speaker)
    return read_voice(member.card if member else session.card)


def next_voice(session: Session, history: Sequence[Message]) -> str | None:
    """Who will answer the user's next message; None where one of a cast will, and nobody knows who."""
    if not session.cast:
        return read_voice(session.card)
    if session.turn_order == "list":
        return read_voice(next_in_list(session.cast, history).card)
    voices = {read_voice(member.card) for member in session.cast}
    return voices.pop() if len(voices) == 1 else None


class Voices:
    """The adapters of one server, on one engine; without a store there are none."""

    def __init__(self, engine: Engine, store: AdapterStore | None = None) -> None:
        self._engine = engine
        self.store = store

    async def find(self, voice: str) -> Adapter | None:
        """The adapter of that name, loaded; None for the model's own voice. Raises VoiceError."""
        if not voice:
            return None
        if self.store is None:
            raise VoiceError(OFF, code="adapters_off")
        found = await self.store.copy(voice)
        if found is None:
            raise VoiceError(f"there is no adapter {quoted(voice)} on this server", code="adapter_not_found")
        if isinstance(found, Report):
            told = f"the adapter {quoted(voice)} can't be used: {'; '.join(found.problems)}"
            raise VoiceError(told, code="adapter_broken")
        try:
            await self._engine.load(found)
        except EngineDeadError as error:
            raise EngineDownError("the inference engine has died, and the server stops") from error
        except EngineError as error:
            raise VoiceError(f"the adapter {quoted(voice)} can't be used: {error}", code="adapter_broken") from error
        return found

    async def fault(self, voice: str) -> str | None:
        """Why nobody can speak so now; None where one can."""
        try:
            await self.find(voice)
        except VoiceError as error:
            return error.message
        return None

    async def check(self, session: Session) -> None:
        """Raise VoiceError when one who plays in the session couldn't speak."""
        for card in [member.card for member in session.cast] or [session.card]:
            await self.find(read_voice(card))
