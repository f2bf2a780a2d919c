"""What is settled before a turn's prompt is laid out: which messages it answers, as whom, and what lore is told."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from app.errors import NotFoundError
from app.sessions.lore import Lore, Told, build_chat
from app.sessions.session import Message, Session, lore_state, new_id
from app.store.characters import CharacterStore
from models.lore import LoreBlock
from models.renderer import Renderer
from models.sections import Scene


@dataclass(frozen=True, slots=True)
class Plan:
    """What a turn adds to a session, the id of the message that it answers, and what a client instructs by now.

    `trigger` is what kind of reply is asked for, as lorebooks call it.
    """

    added: list[Message]
    parent: str | None
    instructions: str = ""
    trigger: str = "normal"


@dataclass(frozen=True, slots=True)
class Setup:
    """A turn's prompt before it is laid out: the messages that it answers, and what stands beside them."""

    plan: Plan
    history: list[Message]
    told: Told
    scene: Scene


class Preparation:
    """Prepares the turns of sessions on one model."""

    def __init__(self, renderer: Renderer, lore: Lore, characters: CharacterStore) -> None:
        self._renderer = renderer
        self._lore = lore
        self._characters = characters

    async def with_lore(self, session: Session) -> Session:
        """`session` with the lore in its head that is told on every turn."""
        permanent = await self.permanent(session)
        return session.reheaded(self._renderer, permanent) if permanent else session

    async def permanent(self, session: Session) -> list[LoreBlock]:
        """The lore that stands in a session's head."""
        context = session.opening_context()
        chat = build_chat(session.card, session.user, [])
        return (await self._lore.tell(session.card, session.user, session.books, chat, context=context)).permanent

    def plan_message(self, session: Session, content: str, system: Sequence[str] = ()) -> Plan:
        """The turn that answers a message of the user's. `system` as of `reply`."""
        said = Message(new_id("msg"), session.tip, "user", content, self._renderer.encode(content.strip()))
        return Plan([said], said.id, session.instructions(system))

    async def prepare(self, session: Session, plan: Plan) -> Setup:
        """What the turn of `plan` says beside the history, its lore told; frozen lore is added to the plan."""
        history = [*session.branch(None if plan.added else plan.parent), *plan.added]
        context = session.turn_context(history)
        window = next((index for index, message in enumerate(history) if message.id == session.window), 0)
        chat = build_chat(
            session.card,
            session.user,
            [(message.role, message.content) for message in history],
            kept_from=sum(message.role != "system" for message in history[:window]),
            greeting=session.greeting,
            trigger=plan.trigger,
        )
        told = await self._lore.tell(
            session.card, session.user, session.books, chat, context=context, state=lore_state(history[:-1])
        )
        if told.frozen and plan.added:
            said = plan.added[-1]
            frozen = Message(new_id("msg"), said.parent, "system", told.frozen, self._renderer.encode(told.frozen))
            plan = replace(plan, added=[frozen, replace(said, parent=frozen.id)])
            history[-1:] = plan.added
        scene = session.scene(lore=told.blocks, context=replace(context, outlets=told.outlets))
        return Setup(plan, history, told, replace(scene, instructions=plan.instructions, disabled=told.disabled))

    async def renew(self, session: Session) -> Session:
        """The session under this model's vocabulary, with its character as it is now where it follows that."""
        renderer = self._renderer
        if session.follows:
            with suppress(NotFoundError):  # deleted since: the session goes on with what it has
                now = await self._characters.get(session.character_id)
                if now.revision != session.revision:
                    session = replace(session, card=now.card, revision=now.revision, character_version=now.version)
                    session = session.reheaded(renderer, await self.permanent(session))
        if session.fingerprint != renderer.fingerprint:
            session = session.under(renderer, await self.permanent(session))
        return session
