"""Beginning the turn that a chat completion asks for: in a session, or on the transcript that came with it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import anyio.to_thread

from app.api.chat.channels import View, content_to_wire
from app.api.chat.keys import SessionKey
from app.api.chat.messages import count_opening, opening_instructions, spoken, trimmed
from app.errors import ConflictError, InvalidRequestError, NotFoundError, SessionBusyError, quoted
from app.sessions.opening import open_session
from app.sessions.reconciliation import Answerer, Aside
from app.sessions.shelf import Shelf
from app.sessions.terms import Terms
from app.sessions.turn import RunningTurn
from app.sessions.turns import Turns
from app.store.characters import CharacterRecord
from app.store.transcripts import TranscriptStore
from models.engine import SamplingParams
from models.examples import Line
from models.renderer import Turn
from models.scene import Scene, UserPersona, read_layout
from models.transcript import Known


@dataclass(frozen=True, slots=True)
class Asked:
    """A transcript, who is asked (None: the raw model), how, and the parts that answer."""

    character: CharacterRecord | None
    lines: Sequence[Line]
    params: SamplingParams
    view: View
    turns: Turns
    shelf: Shelf
    transcripts: TranscriptStore
    terms: Terms
    user_id: str | None = None

    async def begin(self, key: SessionKey | None, aside: Answerer | None) -> RunningTurn:
        """The turn in the session of `key`; without one, or as an aside, it leaves no trace in any."""
        if key and not aside:
            try:
                return await self._in_session(key)
            except Aside as told:
                aside = told.answerer
        return await (replace(self, character=None) if aside == "model" else self)._alone()

    async def _in_session(self, key: SessionKey) -> RunningTurn:
        """A turn of a session that the server keeps; opened here when it is new, with what was said before."""
        said = spoken(self.lines)
        if not any(line.role == "user" for line in said):
            raise InvalidRequestError("a session's turn needs a message of the user's", param="messages")
        if self.character is None and key.front_end:
            raise Aside("character")
        follow = partial(
            self.turns.follow,
            key.id,
            said,
            self.params,
            character_id=self.character.id if self.character else None,
            system=self._system(),
            whole=key.front_end,
            shown=self._shown,
            terms=self.terms,
        )
        try:
            return await follow()
        except SessionBusyError:
            await self._check_other(key)
            raise
        except NotFoundError:
            if self.character is None:
                raise InvalidRequestError(
                    f"there is no session {quoted(key.id)} yet: name a character as `model` to open it", param="model"
                ) from None
        await self._open(key.id, self.character, said)
        return await follow()

    async def _check_other(self, key: SessionKey) -> None:
        """Raise Aside where a front-end asks another character in the same chat, at the same time."""
        if key.front_end and self.character is not None:
            with suppress(NotFoundError):
                if (await self.turns.sessions.get(key.id)).character_id != self.character.id:
                    raise Aside("character")

    async def _open(self, session_id: str, character: CharacterRecord, said: Sequence[Line]) -> None:
        last = max(index for index, line in enumerate(said) if line.role == "user")
        books = await self.shelf.books(character.card)
        # Of megabytes that were said before, the tokens are seconds of work.
        session = await anyio.to_thread.run_sync(
            partial(
                open_session,
                character,
                UserPersona(),
                self.turns.renderer,
                greeting=None,
                extra=opening_instructions(self.lines),
                session_id=session_id,
                user_id=self.user_id,
                books=books,
                past=[(line.role, line.text) for line in said[:last]],
            )
        )
        await self.turns.voices.check(session)
        session = await self.turns.preparation.with_head(session)
        self.turns.prompts.check_opening(session, self.params, said[last].text, self._system())
        # Opened by another request just now: that one has it, or has left it.
        with suppress(ConflictError):
            await self.turns.sessions.create(session)

    async def _alone(self) -> RunningTurn:
        """A turn on the history that the client sent; without a character its messages are all there is."""
        renderer, character = self.turns.renderer, self.character
        lines = trimmed(self.lines)
        known = await self._known(lines)
        if character is None:
            if self.terms.chooses:
                told = "`fidelity` is to a character's card: name a character as `model`"
                raise InvalidRequestError(told, param="fidelity")
            self.turns.renderer.check_length(*(line.text for line in lines))
            ids = [known.get(place) or renderer.encode(line.text) for place, line in enumerate(lines)]
            said = [Turn(line.role, token_ids) for line, token_ids in zip(lines, ids, strict=True)]
            turn = await self.turns.stateless.complete(said, self.params)
        else:
            first = count_opening(lines)
            scene = Scene(character.card, extra=opening_instructions(lines), layout=read_layout(character.card))
            turn = await self.turns.stateless.answer(
                scene,
                lines[first:],
                self.params,
                await self.shelf.books(character.card),
                known={place - first: ids for place, ids in known.items()},
                chooses=self.terms.chooses,
            )
        begun = lines[-1].text if lines[-1].role == "assistant" else ""
        turn.keep = partial(self._keep, lines, begun, known.get(len(lines) - 1) if begun else None)
        return turn

    async def _known(self, lines: Sequence[Line]) -> Known:
        """The ids of replies by their places, where they are kept; of one that is continued, to the letter."""
        places = [place for place, line in enumerate(lines) if line.role != "system"]
        kept = await self.transcripts.read(self._scope, [lines[place] for place in places])
        known = {places[index]: ids for index, ids in kept.items()}
        last = len(lines) - 1
        if last in known and self.turns.renderer.decode(known[last]) != lines[last].text:
            del known[last]
        return known

    async def _keep(
        self, lines: Sequence[Line], begun: str, begun_ids: Sequence[int] | None, turn: RunningTurn
    ) -> None:
        """Keep the ids of the replies that the client will send back, where encoding them would give others."""
        renderer = self.turns.engine.renderer
        begun_ids = begun_ids or renderer.encode(begun)
        replies: list[tuple[str, Sequence[int]]] = []
        for choice in turn.choices[: turn.told]:
            ids = [*begun_ids, *self.turns.prompts.content_ids(choice)]
            text = begun + content_to_wire(choice.content, self.view, begun)["content"]
            if choice.content and ids != renderer.encode(text.strip()):
                replies.append((text, ids))
        await self.transcripts.keep(self._scope, spoken(lines[:-1] if begun else lines), replies, self.user_id)

    @property
    def _scope(self) -> str:
        """What ids and transcripts are valid for."""
        return f"{self.turns.renderer.fingerprint}/{self.character.id if self.character else ''}"

    def _system(self) -> list[str]:
        return [line.text for line in self.lines if line.role == "system"]

    def _shown(self, reply: str) -> str:
        shown: str = content_to_wire(reply, self.view)["content"]
        return shown
