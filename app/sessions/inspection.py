"""A prompt taken apart: each block with its place and its tokens, and what of it costs more than it needs to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.errors import ContextLengthError
from app.sessions.plans import plan_reply
from app.sessions.preparation import Setup, loses_lore
from app.sessions.session import Session
from app.sessions.turns import Turns
from app.sessions.window import cut_by, recap_of
from characters.lore.activation import Part
from characters.lore.reason import Reason
from characters.macros import is_volatile
from models.renderer import Role
from models.scene import Message as Piece
from models.scene import Scene
from models.sections import closing_messages, head_messages, recap_messages

# Shares of the context from on which a part is worth a word.
LARGE_HEAD, LARGE_EXAMPLES = 0.5, 0.25
HEAD_FIELDS = ("system_prompt", "description", "personality", "scenario", "mes_example")


@dataclass(frozen=True, slots=True)
class PromptBlock:
    """A piece of the prompt. `tokens` are its content's, without the template's glue."""

    name: str
    part: Part
    role: Role
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """The blocks in the prompt's order; `lore` is what fired and what didn't, with reasons."""

    blocks: list[PromptBlock]
    warnings: list[str]
    prompt_tokens: int
    max_model_len: int
    lore: dict[str, Any]


async def inspect_prompt(turns: Turns, session: Session, said: str = "", *, speaker: str | None = None) -> Inspection:
    """The prompt of the session's next turn, if the user says `said`; nothing is written, and nothing is generated.

    Of a cast `speaker` is the id of the one who answers.
    """
    preparation = turns.preparation
    session = await preparation.renew(session)
    plan = plan_reply(session, said, turns.renderer.encode, speaker=speaker)
    setup = await preparation.prepare(session, plan)
    scene = _uncounted(setup.scene)
    try:
        prompt, _ = turns.prompts.lay_out(session, setup)
        if loses_lore(setup, prompt.start):
            setup = await preparation.prepare(session, plan, start=prompt.start)
            scene = _uncounted(setup.scene)
            prompt, _ = turns.prompts.lay_out(session, setup)
        prompt_tokens, start, warnings = len(prompt.token_ids), prompt.start, []
        session, _ = cut_by(session, setup.history, prompt)
    except ContextLengthError as error:
        prompt_tokens, start, warnings = 0, 0, [error.message]
    head = head_messages(await _head_scene(turns, session, setup))
    if setup.scene.layout == "cache" and [turns.renderer.encode(message.text) for message in head] != [
        list(turn.token_ids) for turn in session.head
    ]:
        warnings.append("the session's own head is older: shown is how it would begin now")
    head_blocks = _blocks(turns, head, "head")
    shown = setup.history[start:]
    history = [
        PromptBlock(
            f"message {message.id}",
            "history",
            message.role,
            session.heading(message.role, message.speaker) + message.content,
            len(turn.token_ids),
        )
        for message, turn in zip(shown, session.as_turns(shown, turns.renderer.encode), strict=True)
    ]
    recap = _blocks(turns, recap_messages(recap_of(session, setup.history)), "history")
    words = setup.beginning
    begun = PromptBlock("lore, the reply's beginning", "tail", "assistant", words.text, len(words.token_ids))
    blocks = [*head_blocks, *recap, *_placed(turns, history, closing_messages(scene)), begun]
    activation = setup.told.activation
    return Inspection(
        [block for block in blocks if block.text],
        [*warnings, *_warnings(turns, session, setup, head_blocks, start)],
        prompt_tokens,
        turns.engine.max_model_len,
        activation.to_json() if activation else {"fired": [], "not_fired": []},
    )


def _uncounted(scene: Scene) -> Scene:
    """The scene with variables of its own: macros that count must say here what they say in the prompt."""
    return replace(scene, context=replace(scene.context, variables=dict(scene.context.variables)))


async def _head_scene(turns: Turns, session: Session, setup: Setup) -> Scene:
    if setup.scene.layout == "compat":
        return setup.head_scene(session)
    return session.scene(await turns.preparation.told_always(session))


def _blocks(turns: Turns, messages: Sequence[Piece], part: Part) -> list[PromptBlock]:
    encode = turns.renderer.encode
    return [
        PromptBlock(block.name, part, message.role, block.text, len(encode(block.text)))
        for message in messages
        for block in message.blocks
    ]


def _placed(turns: Turns, history: list[PromptBlock], closing: Sequence[Piece]) -> list[PromptBlock]:
    """The history with what is inserted among it, as `models.prompt.Layout` places it."""
    last_user = max((index for index, block in enumerate(history) if block.role == "user"), default=len(history))
    inserted: dict[int, list[PromptBlock]] = {}
    for message in closing:
        place = last_user if message.depth is None else max(0, len(history) - message.depth)
        part: Part = "history" if message.depth else "tail"
        inserted.setdefault(place, []).extend(_blocks(turns, [message], part))
    placed: list[PromptBlock] = []
    for index in range(len(history) + 1):
        placed += [*inserted.get(index, []), *history[index : index + 1]]
    return placed


def _warnings(turns: Turns, session: Session, setup: Setup, head: Sequence[PromptBlock], start: int) -> list[str]:
    context, told = turns.engine.max_model_len, setup.told
    head_tokens = sum(block.tokens for block in head)
    example_tokens = sum(block.tokens for block in head if block.name.startswith("example"))
    volatile = [name for name in HEAD_FIELDS if is_volatile(getattr(session.card.data, name))]
    dropped = sum(one.reason is Reason.BUDGET for one in told.activation.not_fired) if told.activation else 0
    costly = [block.name for block in told.blocks if setup.scene.layout == "compat" and block.part == "head"]
    return [
        *(f"{name}: its macros of time and chance are evaluated once, when a session begins" for name in volatile),
        *_if(head_tokens > LARGE_HEAD * context, f"the head takes {head_tokens} of {context} tokens of context"),
        *_if(example_tokens > LARGE_EXAMPLES * context, f"the examples take {example_tokens} of {context} tokens"),
        *_if(
            bool(costly), "layout compat: when this lore changes, the whole prompt is read again: " + ", ".join(costly)
        ),
        *_if(dropped > 0, f"{dropped} lore entries fired and did not fit into the token budget"),
        *_if(start > 0, f"the {start} oldest messages are left out: the context is full"),
        *told.warnings,
    ]


def _if(condition: bool, warning: str) -> list[str]:
    return [warning] if condition else []
