"""What a prompt says beside the history, as named blocks: the messages of its head, and those among its last turns.

Two layouts, as in `models.lore`. In `cache` all that changes stands in one message just before the user's last one;
in `compat` each piece stands where the card specifications and SillyTavern put it, whatever is computed anew for that.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from characters.calls import Context
from characters.card import DEFAULT_USER, CharacterCard
from characters.lore.activation import Part
from characters.lore.placement import DEFAULT_DEPTH, ROLES, Placement, Position

import models.stage
from models.examples import parse_examples
from models.lore import Layout, LoreBlock
from models.prompt import Insertion
from models.renderer import Role, Turn
from models.stage import Stage

OPENING = "You are {{char}}, talking with {{user}}. You stay {{char}} from the first word to the last."
CLOSING = (
    "Speak as {{char}} speaks, from what is written above and what has been said, and from nothing else. "
    "What {{char}} doesn't know, {{char}} doesn't make up. Mean {{user}} no harm."
)
EXAMPLE = "An example of how {{char}} talks:"
MEMORY = "What {{char}} remembers"
RECAP = "What has happened so far, in short:"
BEGINNING = "So much for examples. Here the conversation begins."

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


def head_messages(scene: Scene) -> list[Message]:
    """The head: the system's message, then the card's examples, announced, and their end.

    The card's `system_prompt` stands in for our opening, which it can quote as `{{original}}`. Sections that have
    nothing to say are left out.
    """
    if scene.stage:
        return [Message("system", tuple(_stage_head(scene, scene.stage)))]
    data, profile = scene.card.data, scene.card.profile
    user = _section(scene, "user", "About {{user}}", scene.user.persona)
    opening = "" if "system_prompt" in scene.disabled else data.system_prompt
    head = [
        *_section(scene, "opening", "", opening or OPENING, scene.expand(OPENING)),
        *_world(scene, Position.BEFORE_CHAR),
        *(user if scene.layout == "compat" else []),
        *_section(scene, "persona", "Persona", scene.card.persona),
        *_section(scene, "profile", "Character Profile", profile.lines() if profile else ""),
        *_world(scene, Position.BEFORE_DESC),
        *_section(scene, "description", "Description", data.description),
        *_world(scene, Position.AFTER_DESC),
        *_section(scene, "personality", "Personality", data.personality),
        *_world(scene, Position.PERSONALITY),
        *_section(scene, "scenario", "Scenario", data.scenario),
        *_world(scene, Position.SCENARIO),
        *_world(scene, Position.AFTER_CHAR),
        *(user if scene.layout == "cache" else []),
        *_section(scene, "instructions", "Instructions", scene.extra),
        *_section(scene, "closing", "", CLOSING),
    ]
    return [Message("system", tuple(head)), *_examples(scene)]


def recap_messages(text: str) -> list[Message]:
    """What stands behind the head for messages that history no longer holds; nothing where nothing is told of them."""
    return [Message("system", (Block("recap", f"{RECAP}\n{text.strip()}"),))] if text.strip() else []


def closing_messages(scene: Scene) -> list[Message]:
    """What stands among the last turns, from the top: lore that was found, notes, instructions, a request."""
    if scene.stage:
        blocks = tuple(_stage_closing(scene, scene.stage))
        return [Message("system", blocks, 0)] if blocks else []
    request = _section(scene, "request", "", scene.request)
    return [*_closing(scene), *([Message("system", tuple(request), 0)] if request else [])]


def _closing(scene: Scene) -> list[Message]:
    lore = [block for block in scene.lore if block.part == "history" and not block.frozen]
    data = scene.card.data
    depth_prompt = _depth_prompt(scene)
    after = "" if "post_history_instructions" in scene.disabled else data.post_history_instructions
    instructions = _section(scene, "instructions", "", scene.instructions)
    last = _section(scene, "post_history_instructions", "", after)
    if scene.layout == "cache":
        notes = [
            block
            for name, note in (("depth_prompt", depth_prompt), ("note", scene.note))
            for block in _note(scene, name, note)
        ]
        blocks = (*_world_of("World", scene.lore_at("tail")), *_memory(scene), *notes, *instructions, *last)
        return [Message("system", blocks)] if blocks else []
    note = [
        *_placed(lore, Position.NOTE_TOP),
        *_note(scene, "note", scene.note),
        *_placed(lore, Position.NOTE_BOTTOM),
    ]
    placed: list[tuple[Note | Placement, Block]] = [
        *((scene.note, block) for block in note),
        *((depth_prompt, block) for block in _note(scene, "depth_prompt", depth_prompt)),
        *(
            (block.placement, Block(block.name, block.text))
            for block in lore
            if block.placement.position is Position.DEPTH
        ),
    ]
    messages = [
        *_at_depths(placed),
        Message("system", tuple(_memory(scene))),
        Message("system", tuple(instructions)),
        Message("system", tuple(last), 0),
    ]
    return [message for message in messages if message.blocks]


def _at_depths(placed: Iterable[tuple[Note | Placement, Block]]) -> list[Message]:
    """One message for each depth and role, from the top.

    As in SillyTavern (populationInjectionPrompts): at one depth the system's stands last, and in a message the author's
    note, the depth prompt and lore stand in this order, a line break between them.
    """
    joined: dict[tuple[int, Role], list[Block]] = {}
    for place, block in placed:
        joined.setdefault((place.depth, place.role), []).append(block)
    from_the_top = sorted(joined, key=lambda place: (-place[0], -ROLES.index(place[1])))
    return [Message(role, tuple(joined[depth, role]), depth, "\n") for depth, role in from_the_top]


def head_text(card: CharacterCard, user: UserPersona = UserPersona(), extra: str = "") -> str:
    """The head's system message, of a card without lore."""
    return head_messages(Scene(card, user, extra))[0].text


def tail_text(card: CharacterCard, user: UserPersona = UserPersona(), instructions: str = "") -> str:
    """What stands before the user's last message, of a card without lore."""
    return "\n\n".join(message.text for message in closing_messages(Scene(card, user, instructions=instructions)))


def build_head(encode: Encode, scene: Scene) -> list[Turn]:
    """`head_messages` as turns."""
    return [Turn(message.role, encode(message.text)) for message in head_messages(scene)]


def build_insertions(encode: Encode, scene: Scene) -> list[Insertion]:
    """`closing_messages` as turns and their places."""
    return [Insertion(Turn(message.role, encode(message.text)), message.depth) for message in closing_messages(scene)]


def build_recap(encode: Encode, text: str) -> list[Turn]:
    """`recap_messages` as turns."""
    return [Turn(message.role, encode(message.text)) for message in recap_messages(text)]


def read_layout(card: CharacterCard) -> Layout:
    """The layout that a card asks for in `extensions.opencharacter.layout`."""
    ours = card.data.extensions.get("opencharacter")
    return "compat" if isinstance(ours, dict) and ours.get("layout") == "compat" else "cache"


def _stage_head(scene: Scene, stage: Stage) -> list[Block]:
    """What all of the cast are told."""
    return [
        *_section(scene, "opening", "", stage.about(models.stage.OPENING)),
        *_section(scene, "scene", "Scene", scene.card.data.scenario),
        *_world_of("World", scene.lore_at("head")),
        *_section(scene, "user", "About {{user}}", scene.user.persona),
        *_section(scene, "instructions", "Instructions", scene.extra),
        *_section(scene, "closing", "", models.stage.CLOSING),
    ]


def _stage_closing(scene: Scene, stage: Stage) -> list[Block]:
    """What the speaker alone is told, in one message behind everything that was said."""
    request = _section(scene, "request", "", scene.request or (models.stage.REQUEST if stage.speaker else ""))
    if not stage.speaker:
        return request
    data, profile = scene.card.data, scene.card.profile
    speaking = "" if "system_prompt" in scene.disabled else data.system_prompt
    after = "" if "post_history_instructions" in scene.disabled else data.post_history_instructions
    lore = [block for part in ("head", "history", "tail") for block in scene.lore_at(part)]
    examples = "\n\n".join(
        "\n".join(f"{{{{{'char' if line.role == 'assistant' else 'user'}}}}}: {line.text}" for line in example.lines)
        for example in parse_examples(scene.card, scene.user.name)
    )
    return [
        *_section(scene, "opening", "", speaking or models.stage.SPEAKING, scene.expand(models.stage.SPEAKING)),
        *_section(scene, "persona", "Persona", scene.card.persona),
        *_section(scene, "profile", "Character Profile", profile.lines() if profile else ""),
        *_section(scene, "description", "Description", data.description),
        *_section(scene, "personality", "Personality", data.personality),
        *_section(scene, "examples", models.stage.EXAMPLES, examples),
        *_section(scene, "motive", "What {{char}} wants", stage.motive),
        *_section(scene, "knowledge", "What {{char}} knows and others don't", stage.knowledge),
        *_section(scene, "whispers", "What was said to {{char}} alone", "\n".join(stage.whispers)),
        *_world_of("World", lore),
        *_memory(scene),
        *_note(scene, "depth_prompt", _depth_prompt(scene)),
        *_note(scene, "note", scene.note),
        *_section(scene, "instructions", "", scene.instructions),
        *_section(scene, "post_history_instructions", "", after),
        *request,
    ]


def _section(scene: Scene, name: str, title: str, text: str, original: str = "") -> list[Block]:
    text = scene.expand(text, original).strip() if text.strip() else ""
    heading = f"# {scene.expand(title)}\n" if title else ""
    return [Block(name, heading + text)] if text else []


def _memory(scene: Scene) -> list[Block]:
    """What was said is told as it was said: macros in it are left alone."""
    title = scene.expand(MEMORY)
    return [Block("memory", "\n".join([f"# {title}", *scene.memories]))] if scene.memories else []


def _world(scene: Scene, *positions: Position) -> list[Block]:
    return _world_of("World", scene.lore_at("head", *positions))


def _world_of(title: str, blocks: Sequence[Block]) -> list[Block]:
    """Lore under one heading."""
    return [
        Block(block.name, block.text if place else f"# {title}\n{block.text}") for place, block in enumerate(blocks)
    ]


def _examples(scene: Scene) -> list[Message]:
    examples = parse_examples(scene.card, scene.user.name)
    above = [Message("system", (block,)) for block in scene.lore_at("head", Position.EXAMPLES_TOP)]
    below = [Message("system", (block,)) for block in scene.lore_at("head", Position.EXAMPLES_BOTTOM)]
    messages = []
    for number, example in enumerate(examples, 1):
        name = f"example {number}"
        announced = scene.expand(EXAMPLE) + (f"\n{scene.expand(example.scene)}" if example.scene else "")
        messages.append(Message("system", (Block(name, announced),)))
        messages += [Message(line.role, (Block(name, scene.expand(line.text)),)) for line in example.lines]
    if not (messages or above or below):
        return []
    return [*above, *messages, *below, Message("system", (Block("end of examples", BEGINNING),))]


def _depth_prompt(scene: Scene) -> Note:
    """SillyTavern's `extensions.depth_prompt`; whatever is wrong in it counts as absent."""
    said = scene.card.data.extensions.get("depth_prompt")
    if not isinstance(said, dict) or not isinstance(said.get("prompt"), str):
        return Note()
    depth, role = said.get("depth"), said.get("role")
    placed = depth if isinstance(depth, int) and not isinstance(depth, bool) and depth >= 0 else DEFAULT_DEPTH
    return Note(said["prompt"], placed, role if role in ("user", "assistant") else "system")


def _note(scene: Scene, name: str, note: Note) -> list[Block]:
    return _section(scene, name, "", note.text)


def _placed(lore: Iterable[LoreBlock], position: Position) -> list[Block]:
    return [Block(block.name, block.text) for block in lore if block.placement.position is position]
