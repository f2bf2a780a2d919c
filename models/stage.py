"""What a prompt says of a scene that several characters play.

Its head is the same for all of them: the scene and who is there. What only the speaker is told stands behind the
history, and nobody else's prompt has it: its card, its motive, what it knows, what was whispered to it. So a change of
speaker costs no more than its card.
"""

from collections.abc import Sequence

from characters.lore.activation import Part

from models.examples import parse_examples
from models.scene import Block, Scene, Stage, build_memory, build_note, build_section, build_world, read_depth_prompt

OPENING = "This is a scene with {{user}} and {{group}}. You play the one of them who is asked to speak."
CLOSING = (
    "Each line of the scene begins with the name of who says it. Speak as each of them speaks, and from what that one "
    "knows alone. What they don't know, they don't make up. Mean {{user}} no harm."
)
SPEAKING = "You are {{char}} now."
REQUEST = "Write what {{char}} says next, and nothing for anybody else."
EXAMPLES = "How {{char}} talks"
WHISPERS = "What was said to {{char}} alone"
DIRECTION = "Who speaks next in this scene? Answer with one name alone: {names}."


def announcement(name: str) -> str:
    """What says who speaks."""
    return f"{name}:"


def heading(name: str) -> str:
    """What stands before each line of the scene."""
    return f"{announcement(name)}\n"


def stops(names: Sequence[str]) -> tuple[str, ...]:
    """What ends a reply that goes on to speak for somebody else, or announces itself again."""
    return tuple(f"\n{announcement(name)}" for name in names)


def stage_head(scene: Scene, stage: Stage) -> list[Block]:
    """What all of the cast are told."""
    return [
        *build_section(scene, "opening", "", stage.about(OPENING)),
        *build_section(scene, "scene", "Scene", scene.card.data.scenario),
        *build_world("World", scene.lore_at("head")),
        *build_section(scene, "user", "About {{user}}", scene.user.persona),
        *build_section(scene, "instructions", "Instructions", scene.extra),
        *build_section(scene, "closing", "", CLOSING),
    ]


def stage_closing(scene: Scene, stage: Stage) -> list[Block]:
    """What the speaker alone is told, in one message behind everything that was said."""
    request = build_section(scene, "request", "", scene.request or (REQUEST if stage.speaker else ""))
    if not stage.speaker:
        return request
    data, profile = scene.card.data, scene.card.profile
    speaking = "" if "system_prompt" in scene.disabled else data.system_prompt
    after = "" if "post_history_instructions" in scene.disabled else data.post_history_instructions
    parts: tuple[Part, ...] = ("head", "history", "tail")
    lore = [block for part in parts for block in scene.lore_at(part)]
    examples = "\n\n".join(
        "\n".join(f"{{{{{'char' if line.role == 'assistant' else 'user'}}}}}: {line.text}" for line in example.lines)
        for example in parse_examples(scene.card, scene.user.name)
    )
    return [
        *build_section(scene, "opening", "", speaking or SPEAKING, scene.expand(SPEAKING)),
        *build_section(scene, "persona", "Persona", scene.card.persona),
        *build_section(scene, "profile", "Character Profile", profile.lines() if profile else ""),
        *build_section(scene, "description", "Description", data.description),
        *build_section(scene, "personality", "Personality", data.personality),
        *build_section(scene, "examples", EXAMPLES, examples),
        *build_section(scene, "motive", "What {{char}} wants", stage.motive),
        *build_section(scene, "knowledge", "What {{char}} knows and others don't", stage.knowledge),
        *_whispers(scene, stage),
        *build_world("World", lore),
        *build_memory(scene),
        *build_note(scene, "depth_prompt", read_depth_prompt(scene)),
        *build_note(scene, "note", scene.note),
        *build_section(scene, "instructions", "", scene.instructions),
        *build_section(scene, "post_history_instructions", "", after),
        *request,
    ]


def _whispers(scene: Scene, stage: Stage) -> list[Block]:
    """What was said is told as it was said: macros in it are left alone."""
    title = scene.expand(WHISPERS)
    return [Block("whispers", "\n".join([f"# {title}", *stage.whispers]))] if stage.whispers else []
