"""A session's state, without I/O: a tree of messages of which one branch is active.

Each message knows its parent; swipes are siblings; nothing is ever taken out of the tree (`app.sessions.tree` says how
it is changed). The ids of its messages are valid under its `fingerprint` (vocabulary and chat template).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from app.sessions.cast import Member, TurnOrder
from app.sessions.lore import NOTHING, Told
from app.sessions.message import Message, Speaker, in_order
from app.sessions.state import known_of, latest, swipes_of_last
from characters.calls import Context
from characters.card import CharacterCard
from characters.lorebook import Lorebook
from models.renderer import Renderer, Turn
from models.scene import Note, Scene, Stage, UserPersona, read_layout
from models.sections import build_head
from models.stage import heading

Renewed = Literal["nothing", "head", "ids"]
Encode = Callable[[str], Sequence[int]]

# How many steps can be undone.
MOST_UNDONE = 50


def join_instructions(system: Sequence[str]) -> str:
    """A client's system messages as one text."""
    return "\n\n".join(system)


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut of the history: the message with which prompts begin from then on, and what they tell of those before.

    On other branches they begin with the message in its place, of the same root.
    """

    window: str
    recap: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """One conversation, as of `version`, which counts its commits.

    `card` is the character as it was at `revision`: when the session began, or lately where it `follows` the
    character's changes. `head` is what its prompts begin with; `window` is the first message that the prompt still
    holds (None: all of them), moved only when history is cut. `books` are the lorebooks beside the card's own, as they
    were when they were attached. `undo` are the tips before this one, the latest last ("" for none), `checkpoints`
    names of messages. `planned` is the cut that the next turn makes if it has to cut, `cut` the last one of those that
    was made. `seed` is what chance goes by: the id of the session that this one was forked from, if it was.
    `renewed` says what of the stored session must be written anew.
    """

    id: str
    character_id: str
    card: CharacterCard
    user: UserPersona
    fingerprint: str
    head: Sequence[Turn]
    messages: Mapping[str, Message]
    tip: str | None
    window: str | None = None
    cut: Cut | None = None
    planned: Cut | None = None
    undo: Sequence[str] = ()
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    seed: str = ""
    model: str = ""
    """What macros call the model. It is stored with no session."""
    extra: str = ""
    note: Note = field(default_factory=Note)
    memory: Literal["on", "off"] = "on"
    as_of: float | str | None = None
    """A time, or a message's id: memories of what came later aren't told."""
    lorebook_ids: Sequence[str] = ()
    books: Sequence[tuple[str, Lorebook]] = ()
    persona_id: str | None = None
    user_id: str | None = None
    """Whose it is: erased with all else that is theirs."""
    brought: Mapping[str, Any] = field(default_factory=dict)  # JSON
    """What the file says of the whole chat that the session came in."""
    cast: Sequence[Member] = ()
    turn_order: TurnOrder = "list"
    greeting: int | None = None
    follows: bool = False
    character_version: int = 0
    revision: str = ""
    renewed: Renewed = "nothing"
    version: int = 0
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)

    def branch(self) -> list[Message]:
        """The messages of the active branch, the first one first."""
        return self.path(self.tip)

    def path(self, tip: str | None) -> list[Message]:
        """The messages from the first to `tip`; none to None."""
        path: list[Message] = []
        while tip is not None:
            message = self.messages[tip]
            path.append(message)
            tip = message.parent
        return path[::-1]

    def visible(self) -> list[Message]:
        """All messages but those that were removed, and aren't on the active branch."""
        removed = {message.id for message in self.messages.values() if message.removed}
        if removed:
            removed -= {message.id for message in self.branch()}
        return [message for message in self.messages.values() if message.id not in removed]

    def root(self, message_id: str) -> str:
        """The root of the message with that id; the id itself where the session has none of it."""
        message = self.messages.get(message_id)
        return message.root if message else message_id

    def written_by(self, turn_id: str) -> list[Message]:
        """What a turn has generated, the reply that the conversation went on from first; nothing for one of others."""
        written = [message for message in self.messages.values() if message.turn_id == turn_id]
        return sorted(written, key=lambda message: message.created)

    def member(self, character_id: str | None) -> Member | None:
        """The one of the cast with that id."""
        return next((member for member in self.cast if member.character_id == character_id), None)

    def name_of(self, message: Message) -> str:
        """Who says it, where its role doesn't tell: one of the cast, or somebody whom the session doesn't know."""
        member = self.member(message.speaker)
        return message.name or (member.name if member else "")

    def names(self) -> list[str]:
        """Who may speak in the scene of a cast, the user last; none where a single character talks."""
        return [*(member.name for member in self.cast), self.user.name] if self.cast else []

    def shared(self, messages: Sequence[Message]) -> list[Message]:
        """What everybody hears of them, which is what prompts have as history."""
        return [message for message in messages if not message.seen_by]

    def heard(self, messages: Sequence[Message], speaker: str | None) -> list[Message]:
        """What a member of the cast hears of them."""
        return [message for message in messages if not message.seen_by or speaker in message.seen_by]

    def heading(self, role: Speaker, speaker: str | None) -> str:
        """What stands before a line of the scene; nothing where a single character talks."""
        if not self.cast or role == "system":
            return ""
        member = self.member(speaker)
        return heading(self.user.name if role == "user" else member.name if member else self.card.name)

    def as_turns(self, messages: Sequence[Message], encode: Encode) -> list[Turn]:
        """The messages as the renderer reads them."""
        headings = [message.name and heading(message.name) for message in messages]
        if self.cast:
            headings = [
                told or self.heading(message.role, message.speaker)
                for told, message in zip(headings, messages, strict=True)
            ]
        return [
            Turn(message.role, [*encode(told), *message.token_ids] if told else message.token_ids)
            for told, message in zip(headings, messages, strict=True)
        ]

    def instructions(self, system: Sequence[str]) -> str:
        """Of `system`, the instructions that a client sends by now, those that aren't in the head."""
        begun = next((count for count in range(len(system) + 1) if join_instructions(system[:count]) == self.extra), 0)
        return join_instructions(system[begun:])

    def scene(
        self,
        told: Told = NOTHING,
        context: Context | None = None,
        speaker: Member | None = None,
        whispers: Sequence[str] = (),
    ) -> Scene:
        """What prompts say beside the history, with the lore that is told; by default as when the session began.

        Of a cast it is what all are told, and what the `speaker` is told where there is one.
        """
        names = [member.name for member in self.cast]
        told_alone = (speaker.name, speaker.motive, speaker.knowledge, whispers) if speaker else ()
        return Scene(
            speaker.card if speaker else self.card,
            self.user,
            self.extra,
            note=self.note,
            lore=told.blocks,
            disabled=told.disabled,
            layout=read_layout(self.card),
            stage=Stage(names, *told_alone) if names else None,
            context=replace(context or self.opening_context(), outlets=told.outlets),
        )

    def opening_context(self) -> Context:
        """What macros know when a session begins: they say the same whenever its head is written again."""
        return Context(
            seed=self._seed, chat=self._seed, now=_local(self.created), group=self._group, known=self._model_known
        )

    @property
    def _seed(self) -> str:
        return self.seed or self.id

    @property
    def _group(self) -> list[str]:
        return [member.name for member in self.cast]

    @property
    def _model_known(self) -> dict[str, str]:
        return {"model": self.model} if self.model else {}

    def turn_context(self, history: Sequence[Message]) -> Context:
        """What macros know on the turn that answers `history`: the same for each reply to the same message."""
        said = [message for message in history if message.role != "system"]
        # What was said later may have been edited since.
        idle = timedelta(seconds=max(0.0, said[-1].created - said[-2].created)) if len(said) > 1 else None
        swipes = swipes_of_last(said, self.visible())
        return Context(
            seed=f"{self._seed}/{len(said)}",
            chat=self._seed,
            now=_local(said[-1].created) if said else _local(self.created),
            idle=idle,
            variables=dict(latest(history, "variables")),
            global_variables=dict(latest(history, "global_variables")),
            group=self._group,
            known=self._model_known | known_of([(one.role, one.content) for one in said], swipes),
        )

    def reheaded(self, renderer: Renderer, told: Told = NOTHING) -> "Session":
        """This session with its head written anew, with the lore that is told on every turn."""
        return replace(self, head=build_head(renderer.encode, self.scene(told))).rewritten()

    def rewritten(self) -> "Session":
        """This session, of which more than its messages is written with the next commit."""
        return replace(self, renewed="ids" if self.renewed == "ids" else "head")

    def under(self, renderer: Renderer, told: Told = NOTHING) -> "Session":
        """This session with ids of `renderer`'s vocabulary, encoded anew when the model has changed."""
        if self.fingerprint == renderer.fingerprint:
            return self
        messages = {
            key: replace(message, token_ids=renderer.encode(message.content)) for key, message in self.messages.items()
        }
        moved = replace(self, fingerprint=renderer.fingerprint, messages=messages, window=None, renewed="ids")
        return moved.reheaded(renderer, told)

    def add(
        self, added: Sequence[Message], *, tip: str | None, window: str | None, undo: Sequence[str] | None = None
    ) -> "Session":
        """The next version: with `added`, its active branch ending at `tip`, from which `undo` leads back."""
        messages = {**self.messages, **{message.id: message for message in in_order(self.messages, added)}}
        if undo is None:
            undo = (*self.undo, self.tip or "")[-MOST_UNDONE:] if self.version and tip != self.tip else self.undo
        return replace(
            self,
            messages=messages,
            tip=tip,
            window=window,
            undo=undo,
            version=self.version + 1,
            updated=time.time(),
            renewed="nothing",
        )

    def to_wire(self) -> dict[str, Any]:
        """What clients see, without the messages."""
        return {
            "id": self.id,
            "character_id": self.character_id,
            "character_version": self.character_version,
            "follow": self.follows,
            "user": {name: said for name, said in asdict(self.user).items() if said or name != "icon"},
            "persona_id": self.persona_id,
            **({"user_id": self.user_id} if self.user_id else {}),
            "lorebook_ids": list(self.lorebook_ids),
            "note": asdict(self.note) if self.note.text else None,
            "memory": self.memory,
            "as_of": self.as_of,
            "checkpoints": dict(self.checkpoints),
            **(self._cast_to_wire() if self.cast else {}),
            "version": self.version,
            "created": int(self.created),
            "updated": int(self.updated),
        }

    def _cast_to_wire(self) -> dict[str, Any]:
        told = [{"character_id": member.character_id, "name": member.name} for member in self.cast]
        return {"cast": told, "scene": self.card.data.scenario, "turn_order": self.turn_order}


def _local(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, UTC).astimezone()
