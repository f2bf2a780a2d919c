"""What a prompt is about: who talks with whom, where, and all that is said of it beside what was said.

Blocks are named pieces of messages; `models.sections` puts them together for one character, `models.stage` for several.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from characters.calls import Context
from characters.card import DEFAULT_USER, CharacterCard
from characters.lore.activation import Part
from characters.lore.placement import DEFAULT_DEPTH, Position

from models.lore import Layout, LoreBlock
from models.renderer import Role

MEMORY = "What {{char}} remembers"

Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True, slots=True)
class UserPersona:
    """Who the user plays. `icon` names the picture that stands for them, one of a card's `user_icon` assets."""

    name: str = DEFAULT_USER
    persona: str = ""
    icon: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """The author's note of a chat. `depth` counts the messages after it and says something in `compat` alone."""

    text: str = ""
    depth: int = DEFAULT_DEPTH
    role: Role = "system"


@dataclass(frozen=True, slots=True)
class Block:
    """A named piece of a message."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """Blocks that make one message, a blank line `between` them.

    Among the turns, `depth` counts those that stand after it; None is before the last one of the user's.
    """

    role: Role
    blocks: tuple[Block, ...]
    depth: int | None = None
    between: str = "\n\n"

    @property
    def text(self) -> str:
        return self.between.join(block.text for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Stage:
    """`names` are the cast's. The rest is of the one who speaks, and empty for what all are told."""

    names: Sequence[str]
    speaker: str = ""
    motive: str = ""
    knowledge: str = ""
    whispers: Sequence[str] = ()

    @property
    def listed(self) -> str:
        """The names as a list in a sentence."""
        *others, last = self.names
        return f"{', '.join(others)} and {last}" if others else last

    def about(self, text: str) -> str:
        """`text` with the names in the place of `{{group}}`."""
        return text.replace("{{group}}", self.listed)


@dataclass(frozen=True, slots=True)
class Scene:
    """Who talks with whom, and all that a prompt says of it beside what was said.

    `extra` is what a client sent as its own system message before the first turn, `instructions` what it sends since.
    `request` asks for something else than the character's reply, behind everything that was said. Where several
    characters play, `stage` says who, and `card` is the speaker's; in the head it has their names and the scene.
    `lore` is what fired; `disabled` names parts that it turns off. `memories` are lines, of what was said long ago.
    `context` is what macros know of the moment.
    """

    card: CharacterCard
    user: UserPersona = UserPersona()
    extra: str = ""
    instructions: str = ""
    request: str = ""
    note: Note = Note()
    lore: Sequence[LoreBlock] = ()
    memories: Sequence[str] = ()
    disabled: frozenset[str] = frozenset()
    layout: Layout = "cache"
    stage: Stage | None = None
    context: Context = field(default_factory=Context)

    def expand(self, text: str, original: str = "") -> str:
        """`text` with its macros replaced."""
        user = self.user
        return self.card.expand(text, user.name, original, persona=user.persona, context=self.context)

    def lore_at(self, part: Part, *positions: Position) -> list[Block]:
        """The lore of a part; where `positions` are given, at those alone."""
        return [
            Block(block.name, block.text)
            for block in self.lore
            if block.part == part and not block.frozen and (not positions or block.placement.position in positions)
        ]


def build_section(scene: Scene, name: str, title: str, text: str, original: str = "") -> list[Block]:
    """`text` with its macros replaced under a heading; nothing where it says nothing."""
    text = scene.expand(text, original).strip() if text.strip() else ""
    heading = f"# {scene.expand(title)}\n" if title else ""
    return [Block(name, heading + text)] if text else []


def build_memory(scene: Scene) -> list[Block]:
    """What was said is told as it was said: macros in it are left alone."""
    title = scene.expand(MEMORY)
    return [Block("memory", "\n".join([f"# {title}", *scene.memories]))] if scene.memories else []


def build_world(title: str, blocks: Sequence[Block]) -> list[Block]:
    """Lore under one heading."""
    return [
        Block(block.name, block.text if place else f"# {title}\n{block.text}") for place, block in enumerate(blocks)
    ]


def read_depth_prompt(scene: Scene) -> Note:
    """SillyTavern's `extensions.depth_prompt`; whatever is wrong in it counts as absent."""
    said = scene.card.data.extensions.get("depth_prompt")
    if not isinstance(said, dict) or not isinstance(said.get("prompt"), str):
        return Note()
    depth, role = said.get("depth"), said.get("role")
    placed = depth if isinstance(depth, int) and not isinstance(depth, bool) and depth >= 0 else DEFAULT_DEPTH
    return Note(said["prompt"], placed, role if role in ("user", "assistant") else "system")


def build_note(scene: Scene, name: str, note: Note) -> list[Block]:
    """The note's text."""
    return build_section(scene, name, "", note.text)


def read_layout(card: CharacterCard) -> Layout:
    """The layout that a card asks for in `extensions.opencharacter.layout`."""
    ours = card.data.extensions.get("opencharacter")
    return "compat" if isinstance(ours, dict) and ours.get("layout") == "compat" else "cache"
