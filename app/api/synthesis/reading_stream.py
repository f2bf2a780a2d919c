"""A text that is read for a character, piece by piece, as a response: what was gathered outlives whatever fails."""

from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from app.api.chat.sse import ErrorResponse
from app.api.synthesis.profile_stream import Keep, ProfileStream, Wire
from app.sessions.turn import RunningTurn
from models.synthesis.reading import Reading

Ask = Callable[[], Awaitable[RunningTurn]]


class ReadingStream(ProfileStream):
    """The character by the end of the text, with `reading`: how many pieces were read, and what ended it early.

    Streamed: `{"piece": 0, "pieces"}`, then for each piece a frame for each field that it changed, and `{"piece",
    "pieces", "changed", "id", "version"}`; after a failure its error; then the characters and [DONE]. `keep` is called
    after each piece, `keep_variation` for what the last one was answered with besides.
    """

    def __init__(
        self,
        turn: RunningTurn,
        reading: Reading,
        ask: Ask,
        keep: Keep,
        keep_variation: Keep,
        on_error: ErrorResponse,
        *,
        status: int,
        streamed: bool,
        several: bool,
    ) -> None:
        super().__init__(turn, reading.form, keep, on_error, status=status, streamed=streamed, several=several)
        self._reading = reading
        self._ask = ask
        self._keep_variation = keep_variation

    async def _answer(self, made: list[Wire], told: Wire, scope: Scope, receive: Receive, send: Send) -> None:
        reading = {"read": self._reading.read, "pieces": self._reading.pieces, **told}
        read = [{**character, "reading": reading} for character in made]
        await super()._answer(read, {"error": None}, scope, receive, send)

    async def _make(self, made: list[Wire], send: Send) -> None:
        """Read on to the end. The character as of the latest piece is `made[0]`, its variations follow."""
        while True:
            latest, *variations = await self._write(send, self._reading.profile.model_dump())
            changed = self._reading.learn(latest)
            if changed or not made:
                made[:] = [await self._keep(latest)]
            kept = {"id": made[0]["id"], "version": made[0]["version"]}
            await self._send(send, [{**self._progress(), "changed": changed, **kept}])
            if self._reading.done:
                break
            self.turn = await self._ask()
        for variation in variations:
            kept_too = await self._keep_variation(variation)
            made.append(kept_too)

    def _opening(self) -> list[Wire]:
        return [self._progress()]

    def _progress(self) -> Wire:
        return {"piece": self._reading.read, "pieces": self._reading.pieces}
