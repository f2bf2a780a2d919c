"""Reads a text for a character: asks about it piece by piece, and keeps with the character what was learned so far.

Each piece that tells something new is a version. Whoever sends the same text again goes on where the last one stopped.
"""

import asyncio
from dataclasses import dataclass, field

from app.api.characters.routes import card_to_wire, to_wire
from app.api.http.etags import check_match
from app.api.synthesis.profile_stream import Wire, Written
from app.api.synthesis.request import SynthesisRequest
from app.errors import ConflictError, ContextLengthError, InvalidRequestError, PreconditionError
from app.sessions.turn import RunningTurn
from app.sessions.turns import Turns
from app.store.characters import CharacterRecord, CharacterStore
from characters.card import CharacterCard, build_card, slug
from characters.profile import Profile
from models.synthesis.bookmark import Bookmark, changed_fields, merge_profile, still_written, told_by_people
from models.synthesis.form import ProfileTooLong
from models.synthesis.manuscript import Manuscript
from models.synthesis.reading import NameMissing, NothingToLearn, Reading


@dataclass(slots=True)
class Reader:
    """A reading under way. `record` is the character as it was read or written last, None before the first piece.

    `theirs` are fields that somebody has changed since the reading began: they stay.
    """

    reading: Reading
    bookmark: Bookmark
    body: SynthesisRequest
    turns: Turns
    characters: CharacterStore
    if_match: str | None
    record: CharacterRecord | None
    card: CharacterCard
    theirs: set[str] = field(default_factory=set)

    async def ask(self) -> RunningTurn:
        """The turn in which the model reads the next piece; the last one has the variations."""
        asked = await asyncio.to_thread(self.reading.ask)
        params = self.body.params(self.reading.form, self.body.n or 1 if self.reading.done else 1)
        return await self.turns.stateless.complete(asked, params, endpoint="synthesize")

    async def keep(self, written: Written) -> tuple[Wire, list[str]]:
        """The character with what a piece was answered with, and the fields that have changed.

        What its user changes meanwhile stays. Raises PreconditionError where that is another state than If-Match names,
        and ConflictError where somebody else reads on.
        """
        while True:
            ours = {name: value for name, value in written.items() if name not in self.theirs}
            card, new = merge_profile(self.card, ours)
            try:
                await self._write(card, new)
            except PreconditionError:
                await self._catch_up()
            else:
                break
        self.reading.learn(written)
        assert self.card.profile is not None
        self.reading.profile = self.card.profile
        return self.shown(), list(new)

    async def keep_variation(self, written: Written) -> Wire:
        """Another character, which is what the last piece was answered with besides."""
        card = build_card(self.reading.profile.model_copy(update=written))
        if self.body.dry_run:
            return _unsaved(card)
        return to_wire(await self.characters.create_unnamed(CharacterRecord(slug(card.data.name), 1, card)))

    def shown(self) -> Wire:
        """The character as clients see it; its `id` is null where none was saved."""
        return _unsaved(self.card) if self.body.dry_run or self.record is None else to_wire(self.record)

    async def _write(self, card: CharacterCard, new: Written) -> None:
        assert card.profile is not None
        wrote = still_written(card.profile, {**self.bookmark.wrote, **new})
        read = self.reading.read + 1
        bookmark = Bookmark(self.bookmark.text, self.reading.at, read, self.reading.done, wrote)
        if self.body.dry_run:
            pass
        elif self.record is None:
            made = CharacterRecord(slug(card.data.name), 1, card, bookmark=bookmark)
            self.record = await self.characters.create_unnamed(made)
        elif new:
            self.record = await self.characters.replace(self.record, card=card, bookmark=bookmark)
        else:
            self.record = await self.characters.note(self.record, bookmark=bookmark)
        self.card, self.bookmark = card, bookmark

    async def _catch_up(self) -> None:
        """Read the character again, which somebody has changed."""
        assert self.record is not None
        now = await self.characters.get(self.record.id)
        check_match(now, self.if_match)
        if now.bookmark != self.record.bookmark:
            told = f"somebody else has read on for {now.id!r}, or has put another card in its place"
            raise ConflictError(told, code="reading_moved")
        self.theirs |= changed_fields(now.card.profile or Profile(), self.card.profile or Profile())
        self.record, self.card = now, now.card


async def open_reader(
    text: Manuscript,
    body: SynthesisRequest,
    turns: Turns,
    characters: CharacterStore,
    if_match: str | None,
) -> Reader:
    """Begins to read for the body's character or for a new one, or goes on where the same text was left.

    Raises NotFoundError, PreconditionError, InvalidRequestError, ContextLengthError.
    """
    record = await _find(text, body, characters)
    if record is not None:
        check_match(record, if_match)
    card = _known(record, body)
    before = record.bookmark if record else None
    bookmark = before.of(text.digest) if before else Bookmark(text.digest)
    name = body.name or card.data.name
    reading = await asyncio.to_thread(_open, text, name, card, bookmark, body, turns)
    return Reader(reading, bookmark, body, turns, characters, if_match, record, card)


def _known(record: CharacterRecord | None, body: SynthesisRequest) -> CharacterCard:
    """What is known before the text: a stored card, or a name."""
    if record is not None:
        return record.card
    assert body.name is not None
    return build_card(Profile(name=body.name))


async def _find(text: Manuscript, body: SynthesisRequest, characters: CharacterStore) -> CharacterRecord | None:
    """The character that is asked for, or the one of that name for whom this very text was left unfinished."""
    if body.character_id is not None:
        return await characters.get(body.character_id)
    if body.dry_run or body.name is None:
        return None
    return await characters.find_unfinished(text.digest, build_card(Profile(name=body.name)).data.name)


def _open(
    text: Manuscript, name: str, card: CharacterCard, bookmark: Bookmark, body: SynthesisRequest, turns: Turns
) -> Reading:
    """Looks through the whole text."""
    profile = card.profile or Profile()
    kept = [] if body.revise else told_by_people(profile, bookmark.wrote)
    engine = turns.engine
    try:
        return Reading(
            engine.renderer,
            engine.max_model_len,
            text,
            name,
            profile=profile,
            kept=[name for name in kept if name != "name"],
            at=bookmark.at,
            read=bookmark.read,
        )
    except NameMissing as error:
        raise InvalidRequestError(str(error), param="name", code="name_missing") from error
    except NothingToLearn as error:
        told = f"{error}: with `revise: true` the text may change it"
        raise InvalidRequestError(told, param="character_id", code="nothing_missing") from error
    except ProfileTooLong as error:
        raise ContextLengthError(str(error), param="text") from error


def _unsaved(card: CharacterCard) -> Wire:
    return {"id": None, **card_to_wire(card), "version": 0, "warnings": []}
