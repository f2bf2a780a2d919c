"""What is settled before a turn's prompt is laid out: which messages it answers, as whom, and what lore is told."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from app.errors import NotFoundError
from app.sessions.bounds import BoundedRenderer
from app.sessions.lore import NOTHING, Lore, Told, build_chat, has_lore
from app.sessions.plans import Plan
from app.sessions.session import Message, Session, lore_state, new_id
from app.sessions.shelf import Shelf
from app.store.characters import CharacterRecord, CharacterStore
from characters.calls import Context
from models.prompt import count_tokens
from models.sections import Scene, head_messages

# Of the context that is kept free for a reply when lore is told.
REPLY_SHARE = 0.25
# What the template and headings put around it all, at most.
GLUE_TOKENS = 96
# The revision of a character that nobody wrote down.
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Setup:
    """A turn's prompt before it is laid out: the messages that it answers, and what stands beside them."""

    plan: Plan
    history: list[Message]
    told: Told
    scene: Scene

    def head_scene(self, session: Session) -> Scene:
        """What a head says that is written anew for this turn: its lore, but the card's macros as they were."""
        return session.scene(self.told)


class Preparation:
    """Prepares the turns of sessions on one model, in a context of `max_model_len` tokens."""

    def __init__(
        self, renderer: BoundedRenderer, lore: Lore, characters: CharacterStore, shelf: Shelf, max_model_len: int
    ) -> None:
        self._renderer = renderer
        self._lore = lore
        self._characters = characters
        self._shelf = shelf
        self._max_model_len = max_model_len

    async def with_head(self, session: Session) -> Session:
        """`session` with its head written, the lore in it that is told on every turn.

        Raises ContextLengthError where the card alone is longer than any prompt.
        """
        told = await self.told_always(session)
        self._renderer.check_length(*(message.text for message in head_messages(session.scene(told))))
        return session.reheaded(self._renderer, told)

    async def told_always(self, session: Session) -> Told:
        """The lore that needs nothing to be said."""
        chat = build_chat(session.card, session.user, [])
        return await self._lore.tell(session.card, session.user, session.books, chat, context=session.opening_context())

    async def prepare(self, session: Session, plan: Plan) -> Setup:
        """What the turn of `plan` says beside the history, its lore told; frozen lore is added to the plan."""
        history = [*session.path(plan.added[0].parent if plan.added else plan.parent), *plan.added]
        context = session.turn_context(history)
        told = await self._tell(session, plan, history, context)
        if told.frozen and plan.added:
            said = plan.added[-1]
            frozen = Message(new_id("msg"), said.parent, "system", told.frozen, self._renderer.encode(told.frozen))
            plan = replace(plan, added=[*plan.added[:-1], frozen, replace(said, parent=frozen.id)])
            history[-1:] = plan.added[-2:]
        elif told.frozen:
            written = history[-2].content if len(history) > 1 and history[-2].role == "system" else ""
            told = told.thawed(written)
        scene = replace(session.scene(told, context), instructions=plan.instructions, request=plan.request)
        return Setup(plan, history, told, scene)

    async def _tell(self, session: Session, plan: Plan, history: Sequence[Message], context: Context) -> Told:
        if not has_lore(session.card, session.books):
            return NOTHING
        window = next((index for index, message in enumerate(history) if message.id == session.window), 0)
        chat = build_chat(
            session.card,
            session.user,
            [(message.role, message.content) for message in history],
            kept_from=sum(message.role != "system" for message in history[:window]),
            greeting=session.greeting,
            trigger=plan.trigger,
        )
        return await self._lore.tell(
            session.card,
            session.user,
            session.books,
            chat,
            context=context,
            state=lore_state(history),
            room_tokens=self._room(session, history),
        )

    def _room(self, session: Session, history: Sequence[Message]) -> int:
        """Tokens that lore may take of what head, reply and last message leave."""
        last = len(history[-1].token_ids) if history else 0
        beside = self._renderer.count_tokens(session.note.text + session.card.data.post_history_instructions)
        taken = count_tokens(session.head) + last + beside + GLUE_TOKENS
        return max(0, int(self._max_model_len * (1 - REPLY_SHARE)) - taken)

    async def renew(self, session: Session) -> Session:
        """The session under this model's vocabulary, with its character as it is now where it follows that."""
        if session.follows:
            with suppress(NotFoundError):  # deleted since: the session goes on with what it has
                session = await self._follow(session, await self._characters.get(session.character_id))
        elif not session.revision:
            # Sessions of version 0.1.0 know no lore.
            session = await self.with_head(replace(session, revision=UNKNOWN))
        if session.fingerprint != self._renderer.fingerprint:
            session = session.under(self._renderer, await self.told_always(session))
        return session

    async def _follow(self, session: Session, now: CharacterRecord) -> Session:
        if now.revision == session.revision:
            return session
        books = await self._shelf.books(now.card, session.lorebook_ids, session.persona_id)
        changed = replace(session, card=now.card, revision=now.revision, character_version=now.version, books=books)
        return await self.with_head(changed)
