"""What a prompt says beside the history, as named blocks: the messages of its head, and those among its last turns.

Two layouts, as in `models.lore`. In `cache` all that changes stands in one message just before the user's last one;
in `compat` each piece stands where the card specifications and SillyTavern put it, whatever is computed anew for that.
"""

from collections.abc import Iterable

from characters.card import CharacterCard
from characters.lore.placement import ROLES, Placement, Position

from models.examples import parse_examples
from models.lore import LoreBlock
from models.prompt import Insertion
from models.renderer import Role, Turn
from models.scene import (
    Block,
    Encode,
    Message,
    Note,
    Scene,
    UserPersona,
    build_memory,
    build_note,
    build_section,
    build_world,
    read_depth_prompt,
)
from models.stage import stage_closing, stage_head

OPENING = "You are {{char}}, talking with {{user}}. You stay {{char}} from the first word to the last."
CLOSING = (
    "Speak as {{char}} speaks, from what is written above and what has been said, and from nothing else. "
    "What {{char}} doesn't know, {{char}} doesn't make up. Mean {{user}} no harm."
)
EXAMPLE = "An example of how {{char}} talks:"
RECAP = "What has happened so far, in short:"
# The request for a line of the user's.
IMPERSONATE = "Write what {{user}} says next, in {{user}}'s own voice. Say nothing for {{char}}."
BEGINNING = "So much for examples. Here the conversation begins."


def head_messages(scene: Scene) -> list[Message]:
    """The head: the system's message, then the card's examples, announced, and their end.

    The card's `system_prompt` stands in for our opening, which it can quote as `{{original}}`. Sections that have
    nothing to say are left out.
    """
    if scene.stage:
        return [Message("system", tuple(stage_head(scene, scene.stage)))]
    data, profile = scene.card.data, scene.card.profile
    user = build_section(scene, "user", "About {{user}}", scene.user.persona)
    opening = "" if "system_prompt" in scene.disabled else data.system_prompt
    head = [
        *build_section(scene, "opening", "", opening or OPENING, scene.expand(OPENING)),
        *_world(scene, Position.BEFORE_CHAR),
        *(user if scene.layout == "compat" else []),
        *build_section(scene, "persona", "Persona", scene.card.persona),
        *build_section(scene, "profile", "Character Profile", profile.lines() if profile else ""),
        *_world(scene, Position.BEFORE_DESC),
        *build_section(scene, "description", "Description", data.description),
        *_world(scene, Position.AFTER_DESC),
        *build_section(scene, "personality", "Personality", data.personality),
        *_world(scene, Position.PERSONALITY),
        *build_section(scene, "scenario", "Scenario", data.scenario),
        *_world(scene, Position.SCENARIO),
        *_world(scene, Position.AFTER_CHAR),
        *(user if scene.layout == "cache" else []),
        *build_section(scene, "instructions", "Instructions", scene.extra),
        *build_section(scene, "closing", "", CLOSING),
    ]
    return [Message("system", tuple(head)), *_examples(scene)]


def recap_messages(text: str) -> list[Message]:
    """What stands behind the head for messages that history no longer holds; nothing where nothing is told of them."""
    return [Message("system", (Block("recap", f"{RECAP}\n{text.strip()}"),))] if text.strip() else []


def closing_messages(scene: Scene) -> list[Message]:
    """What stands among the last turns, from the top: lore that was found, notes, instructions, a request."""
    if scene.stage:
        blocks = tuple(stage_closing(scene, scene.stage))
        return [Message("system", blocks, 0)] if blocks else []
    request = build_section(scene, "request", "", scene.request)
    return [*_closing(scene), *([Message("system", tuple(request), 0)] if request else [])]


def _closing(scene: Scene) -> list[Message]:
    lore = [block for block in scene.lore if block.part == "history" and not block.frozen]
    data = scene.card.data
    depth_prompt = read_depth_prompt(scene)
    after = "" if "post_history_instructions" in scene.disabled else data.post_history_instructions
    instructions = build_section(scene, "instructions", "", scene.instructions)
    last = build_section(scene, "post_history_instructions", "", after)
    if scene.layout == "cache":
        notes = [
            block
            for name, note in (("depth_prompt", depth_prompt), ("note", scene.note))
            for block in build_note(scene, name, note)
        ]
        blocks = (*build_world("World", scene.lore_at("tail")), *build_memory(scene), *notes, *instructions, *last)
        return [Message("system", blocks)] if blocks else []
    note = [
        *_placed(lore, Position.NOTE_TOP),
        *build_note(scene, "note", scene.note),
        *_placed(lore, Position.NOTE_BOTTOM),
    ]
    placed: list[tuple[Note | Placement, Block]] = [
        *((scene.note, block) for block in note),
        *((depth_prompt, block) for block in build_note(scene, "depth_prompt", depth_prompt)),
        *(
            (block.placement, Block(block.name, block.text))
            for block in lore
            if block.placement.position is Position.DEPTH
        ),
    ]
    messages = [
        *_at_depths(placed),
        Message("system", tuple(build_memory(scene))),
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


def _world(scene: Scene, *positions: Position) -> list[Block]:
    return build_world("World", scene.lore_at("head", *positions))


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


def _placed(lore: Iterable[LoreBlock], position: Position) -> list[Block]:
    return [Block(block.name, block.text) for block in lore if block.placement.position is position]
