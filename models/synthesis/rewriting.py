"""Strategy R: a dialogue as it would have gone with the character, in one answer, the user's turns left alone."""

from dataclasses import dataclass
from typing import Any

import orjson
from characters.card import CharacterCard

from models.synthesis.pipeline.task import Asking, BadAnswer, Dropped, Row, Task
from models.synthesis.playing import Casting, build_row, describe
from models.synthesis.teachers.teacher import Answer, Line, Question

SYSTEM = (
    "You rewrite dialogues. You get a character and a dialogue between a user and an assistant, as a JSON object with "
    "what each says. Rewrite what the assistant says so that the character says it: with their voice, their past and "
    "what they care for, and nothing of an assistant. Keep what is told and asked; make up no facts that contradict "
    "the character. What the user says stays as it is, to the letter. "
    "Answer with the whole dialogue as a JSON object with the same keys in the same order."
)
# Of the longest dialogue, what its rewritten one may be longer by.
GROWTH = 2.0
LEAST_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Has what the assistant says rewritten in the character's way."""

    casting: Casting
    temperature: float
    seed: int

    async def write(self, task: Task, asking: Asking) -> Row:
        lines = [Line(role, text) for role, text in task.content["lines"]]
        if lines[-1].role == "user":
            raise Dropped("nothing_to_rewrite", lines[-1].text)
        card = self.casting.card(task, self.seed)
        question = self._question(asking, card, lines, task.seed(self.seed))
        return build_row(task, card, await asking.ask(question, lambda answer: read_rewritten(answer, lines)), "R")

    def _question(self, asking: Asking, card: CharacterCard, lines: list[Line], seed: int) -> Question:
        dialogue = orjson.dumps(dict(zip(keys(len(lines)), (line.text for line in lines), strict=True))).decode()
        messages = [Line("system", SYSTEM), Line("user", f"{describe(card)}\n\n# Dialogue\n{dialogue}")]
        teacher = asking.teacher
        wanted = max(LEAST_TOKENS, int(GROWTH * teacher.count([Line("user", dialogue)])))
        room = teacher.max_model_len - teacher.count(messages)
        if room < teacher.count([Line("user", dialogue)]):
            raise Dropped("no_room", lines[0].text)
        return Question(messages, min(wanted, room), self.temperature, seed, rewritten_schema(len(lines)))


def keys(count: int) -> list[str]:
    """What the lines of a dialogue are called: `user_1`, `assistant_1`, `user_2`, …"""
    return [f"{('user', 'assistant')[place % 2]}_{place // 2 + 1}" for place in range(count)]


def rewritten_schema(count: int) -> dict[str, Any]:
    """The JSON schema of a dialogue of so many lines: flat, so that any server can follow it, and the same for all."""
    properties = {key: {"type": "string"} for key in keys(count)}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def read_rewritten(answer: Answer, lines: list[Line]) -> list[Line]:
    """The dialogue in an answer: as many lines, the user's equal to the last byte. Raises BadAnswer."""
    if answer.is_cut:
        raise BadAnswer("cut_off", answer.text)
    try:
        said = orjson.loads(answer.text)
    except orjson.JSONDecodeError:
        raise BadAnswer("broken_json", answer.text) from None
    if not isinstance(said, dict) or list(said) != keys(len(lines)):
        raise BadAnswer("other_turns", answer.text)
    rewritten = [
        Line(line.role, text if isinstance(text, str) else "") for line, text in zip(lines, said.values(), strict=True)
    ]
    if any(line.role == "user" and line.text != before.text for line, before in zip(rewritten, lines, strict=True)):
        raise BadAnswer("user_turn_changed", answer.text)
    if not all(line.text.strip() for line in rewritten):
        raise BadAnswer("empty_reply", answer.text)
    return rewritten
