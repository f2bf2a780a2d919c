"""A text that is read for a character, piece by piece, as a response: what was gathered outlives whatever fails."""

from starlette.types import Receive, Scope, Send

from app.api.chat.sse import ErrorResponse
from app.api.synthesis.profile_stream import ProfileStream, Wire
from app.api.synthesis.reader import Reader
from app.sessions.turn import RunningTurn
from models.synthesis.reading import Reading


class ReadingStream(ProfileStream):
    """The character by the end of the text, with `reading`: how many pieces were read, and what ended it early.

    Streamed: `{"piece", "pieces"}` as it begins, then for each piece a frame for each field that it changed, and
    `{"piece", "pieces", "changed", "id", "version"}`; after a failure its error; then the characters and [DONE].
    """

    def __init__(
        self,
        turn: RunningTurn,
        reader: Reader,
        on_error: ErrorResponse,
        *,
        status: int,
        streamed: bool,
        several: bool,
    ) -> None:
        """`turn` is the one that the reader asks first."""
        form, keep = reader.reading.form, reader.keep_variation
        super().__init__(turn, form, keep, on_error, status=status, streamed=streamed, several=several)
        self._reader = reader
        self._reading = reader.reading

    async def _answer(self, made: list[Wire], told: Wire, scope: Scope, receive: Receive, send: Send) -> None:
        read = [{**character, "reading": reading_to_wire(self._reading, **told)} for character in made]
        await super()._answer(read, {"error": None}, scope, receive, send)

    async def _make(self, made: list[Wire], send: Send) -> None:
        """Read on to the end. The character as of the latest piece is `made[0]`, its variations follow."""
        while True:
            latest, *variations = await self._write(send, self._reading.profile.model_dump())
            character, changed = await self._reader.keep(latest)
            made[:] = [character]
            kept = {"id": character["id"], "version": character["version"]}
            await self._send(send, [{**self._progress(), "changed": changed, **kept}])
            if self._reading.done:
                break
            self.turn = await self._reader.ask()
        for variation in variations:
            kept_too = await self._reader.keep_variation(variation)
            made.append(kept_too)

    def _opening(self) -> list[Wire]:
        return [self._progress()]

    def _progress(self) -> Wire:
        return {"piece": self._reading.read, "pieces": self._reading.pieces}


def reading_to_wire(reading: Reading, error: Wire | None = None) -> Wire:
    """How far the text was read, and what ended it early."""
    return {"read": reading.read, "pieces": reading.pieces, "error": error}
