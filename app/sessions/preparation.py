"""What is settled before a turn's prompt is laid out: which messages it answers, as whom, and what lore is told."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import anyio.to_thread

from app.errors import InvalidRequestError, NotFoundError
from app.sessions.beginning import NO_WORDS, Beginning
from app.sessions.bounds import BoundedRenderer
from app.sessions.cast import Member, build_ensemble, check_cast
from app.sessions.ids import new_id
from app.sessions.lore import NOTHING, Lore, Told, build_chat, has_lore
from app.sessions.memory import Memory
from app.sessions.message import Message
from app.sessions.plans import Plan
from app.sessions.session import Session
from app.sessions.shelf import Shelf
from app.sessions.state import lore_state
from app.sessions.window import find_start
from app.store.characters import CharacterRecord, CharacterStore
from characters.calls import Context
from models.prompt import count_tokens
from models.scene import Scene
from models.sections import head_messages

logger = logging.getLogger(__name__)

# Of the context that is kept free for a reply when lore is told.
REPLY_SHARE = 0.25
# Of the context that whispers may take which stand in the prompt; older ones come back as memories.
WHISPERS_SHARE = 1 / 8
# What the template and headings put around it all, at most.
GLUE_TOKENS = 96
# The revision of a character that nobody wrote down.
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Setup:
    """A turn's prompt before it is laid out: the messages that it answers, what stands beside them, and behind them.

    `beginning` is what lore begins the reply with. A client that begins it itself wins, and so does a reply that is
    continued: the words of lore are left out then.
    """

    plan: Plan
    history: list[Message]
    told: Told
    scene: Scene
    beginning: Beginning = NO_WORDS

    def head_scene(self, session: Session) -> Scene:
        """What a head says that is written anew for this turn: its lore, but the card's macros as they were."""
        return session.scene(self.told)


def loses_lore(setup: Setup, start: int) -> bool:
    """Whether what lore has written into the history is no longer in a prompt that begins with message `start`."""
    gone = count_spoken(setup.history[:start])
    return any(count <= gone for count in setup.told.state.frozen.values())


def count_spoken(history: Sequence[Message]) -> int:
    """The messages that lorebooks count: all but the system's."""
    return sum(message.role != "system" for message in history)


def latest_whispers(heard: Sequence[Message], most_tokens: int) -> list[Message]:
    """What was whispered, of the latest as much as fits: whole exchanges, and the last one in any case."""
    whispers = [message for message in heard if message.seen_by]
    firsts = [place for place, message in enumerate(whispers) if message.role == "user" or not place]
    start = next(
        (place for place in firsts if sum(len(one.token_ids) for one in whispers[place:]) <= most_tokens),
        firsts[-1] if firsts else 0,
    )
    return whispers[start:]


def _told_alone(speaker: Member) -> list[str]:
    """What a prompt says of the one of a cast who speaks, macros as they are written."""
    data, profile = speaker.card.data, speaker.card.profile
    return [
        speaker.card.persona,
        profile.lines() if profile else "",
        data.system_prompt,
        data.description,
        data.personality,
        data.mes_example,
        data.post_history_instructions,
        speaker.motive,
        speaker.knowledge,
    ]


class Preparation:
    """Prepares the turns of sessions on one model, in a context of `max_model_len` tokens."""

    def __init__(
        self,
        renderer: BoundedRenderer,
        lore: Lore,
        characters: CharacterStore,
        shelf: Shelf,
        max_model_len: int,
        memory: Memory | None = None,
        *,
        model_id: str = "",
    ) -> None:
        self._renderer = renderer
        self._lore = lore
        self._characters = characters
        self._shelf = shelf
        self._max_model_len = max_model_len
        self._memory = memory
        self._model_id = model_id

    async def with_head(self, session: Session) -> Session:
        """`session` with its head written, the lore in it that is told on every turn.

        Raises ContextLengthError where the card alone is longer than any prompt.
        """
        session = replace(session, model=self._model_id)
        told = await self.told_always(session)
        self._renderer.check_length(*(message.text for message in head_messages(session.scene(told))))
        return session.reheaded(self._renderer, told)

    async def told_always(self, session: Session) -> Told:
        """The lore that needs nothing to be said."""
        chat = build_chat(session.card, session.user, [])
        return await self._lore.tell(session.card, session.user, session.books, chat, context=session.opening_context())

    async def prepare(self, session: Session, plan: Plan, *, start: int | None = None, begins: bool = True) -> Setup:
        """What the turn of `plan` says beside the history, its lore told; frozen lore is added to the plan.

        The prompt begins with message number `start`, by default where the last one did. `begins` says whether lore may
        begin the reply; the words of lore that does are left out elsewise.
        """
        history = [*session.path(plan.added[0].parent if plan.added else plan.parent), *plan.added]
        if not session.cast:
            history = session.shared(history)
        if start is None:
            start = find_start(session, history)
        prepare = self._prepare_scene if session.cast else self._prepare_alone
        setup = await prepare(session, plan, history, start)
        return replace(setup, beginning=self._begin(setup.told, plan)) if begins else setup

    async def _prepare_alone(self, session: Session, plan: Plan, history: list[Message], start: int) -> Setup:
        context = session.turn_context(history)
        told = await self._tell(session, plan, history, start, context)
        if told.frozen and plan.added:
            said = plan.added[-1]
            frozen = Message(new_id("msg"), said.parent, "system", told.frozen, self._renderer.encode(told.frozen))
            plan = replace(plan, added=[*plan.added[:-1], frozen, replace(said, parent=frozen.id)])
            history[-1:] = plan.added[-2:]
        elif told.frozen:
            written = history[-2].content if len(history) > 1 and history[-2].role == "system" else ""
            told = told.thawed(written)
        memories = await self._recall(session, history, told)
        scene = session.scene(told, context)
        scene = replace(scene, instructions=plan.instructions, request=plan.request, memories=memories)
        return Setup(plan, history, told, scene)

    async def _prepare_scene(self, session: Session, plan: Plan, said: Sequence[Message], start: int) -> Setup:
        """The same, of a session with a cast: what only the speaker knows is in no other speaker's prompt."""
        speaker = session.member(plan.speaker)
        heard = session.heard(said, plan.speaker)
        context = session.turn_context(heard)
        told = NOTHING
        if speaker:
            always = {block.text for block in (await self.told_always(session)).blocks if block.part == "head"}
            told = await self._tell(session, plan, heard, start, context, speaker)
            # What is frozen would be in everybody's history.
            told = told.thawed("")
            told = replace(told, blocks=[block for block in told.blocks if block.text not in always])
        whispered = latest_whispers(heard, int(self._max_model_len * WHISPERS_SHARE)) if speaker else []
        whispers = [session.heading(message.role, message.speaker) + message.content for message in whispered]
        scene = session.scene(told, context, speaker, whispers)
        return Setup(
            plan,
            session.shared(said),
            told,
            replace(
                scene,
                instructions=plan.instructions,
                request=plan.request,
                memories=await self._recall(session, heard, told, speaker, whispered) if speaker else (),
            ),
        )

    def _begin(self, told: Told, plan: Plan) -> Beginning:
        if not told.begun or plan.prefill_ids or plan.role != "assistant":
            return NO_WORDS
        return Beginning(told.begun, self._renderer.encode(told.begun))

    async def _recall(
        self,
        session: Session,
        history: Sequence[Message],
        told: Told,
        speaker: Member | None = None,
        whispered: Sequence[Message] = (),
    ) -> Sequence[str]:
        """Lines of memory, in the room that the lore leaves."""
        if self._memory is None:
            return ()
        lore = sum(self._renderer.count_tokens(block.text) for block in told.blocks if block.part != "head")
        room = self._room(session, history, speaker) - lore - sum(len(message.token_ids) for message in whispered)
        return await self._memory.recall(session, history, room, [message.id for message in whispered])

    async def _tell(
        self,
        session: Session,
        plan: Plan,
        history: Sequence[Message],
        start: int,
        context: Context,
        speaker: Member | None = None,
    ) -> Told:
        card, books = (speaker.card, (*session.books, *speaker.books)) if speaker else (session.card, session.books)
        if not has_lore(card, books):
            return NOTHING
        chat = build_chat(
            card,
            session.user,
            [(message.role, message.content) for message in history],
            names=[session.name_of(message) for message in history],
            kept_from=count_spoken(history[:start]),
            greeting=session.greeting,
            trigger=plan.trigger,
        )
        by_speaker = [message for message in history if message.speaker == plan.speaker] if speaker else history
        return await self._lore.tell(
            card,
            session.user,
            books,
            chat,
            context=context,
            state=lore_state(by_speaker),
            room_tokens=self._room(session, history, speaker),
        )

    def _room(self, session: Session, history: Sequence[Message], speaker: Member | None = None) -> int:
        """Tokens that lore may take of what head, reply and last message leave, and the card of a cast's speaker."""
        last = len(history[-1].token_ids) if history else 0
        texts = _told_alone(speaker) if speaker else [session.card.data.post_history_instructions]
        beside = self._renderer.count_tokens("".join([session.note.text, *texts]))
        taken = count_tokens(session.head) + last + beside + GLUE_TOKENS
        return max(0, int(self._max_model_len * (1 - REPLY_SHARE)) - taken)

    async def renew(self, session: Session) -> Session:
        """The session under this model's name and vocabulary, with its character as it is now where it follows that."""
        session = replace(session, model=self._model_id)
        if session.follows and session.cast:
            session = await self._follow_cast(session)
        elif session.follows:
            with suppress(NotFoundError):  # deleted since: the session goes on with what it has
                session = await self._follow(session, await self._characters.get(session.character_id))
        elif not session.revision:
            # Sessions of version 0.1.0 know no lore.
            session = await self.with_head(replace(session, revision=UNKNOWN))
        if session.fingerprint != self._renderer.fingerprint:
            told = await self.told_always(session)
            session = await anyio.to_thread.run_sync(session.under, self._renderer, told)
        return session

    async def _follow_cast(self, session: Session) -> Session:
        """The session with its cast as it is now; as it was where two of them couldn't be told apart any more."""
        cast = [await self._followed(member) for member in session.cast]
        if cast == list(session.cast):
            return session
        try:
            check_cast(cast, session.user.name)
        except InvalidRequestError as error:
            logger.info("session %s doesn't follow its cast: %s", session.id, error.message)
            return session
        ensemble = build_ensemble(cast, session.card.data.scenario)
        return await self.with_head(replace(session, cast=tuple(cast), card=ensemble))

    async def _followed(self, member: Member) -> Member:
        """The member of a cast as its character is now; one that was deleted stays as it was."""
        try:
            now = await self._characters.get(member.character_id)
        except NotFoundError:
            return member
        if now.revision == member.revision:
            return member
        books = await self._shelf.books(now.card)
        return replace(member, card=now.card, revision=now.revision, version=now.version, books=books)

    async def _follow(self, session: Session, now: CharacterRecord) -> Session:
        if now.revision == session.revision:
            return session
        books = await self._shelf.books(now.card, session.lorebook_ids, session.persona_id)
        changed = replace(session, card=now.card, revision=now.revision, character_version=now.version, books=books)
        return await self.with_head(changed)
