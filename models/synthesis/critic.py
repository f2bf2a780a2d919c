"""A second opinion: a model reads each dialogue beside its character, and says whether it can stay."""

from dataclasses import dataclass
from typing import Any

import orjson

from models.synthesis.checks import read_subject
from models.synthesis.pipeline.task import Asking, BadAnswer, Dropped, Row, Task
from models.synthesis.playing import describe
from models.synthesis.teachers.teacher import Answer, Line, Question

KEEP = "keep"
VERDICTS = {
    KEEP: "the replies are the character's, and answer what was said",
    "contradicts": "a reply contradicts what is told of the character",
    "out_of_character": "a reply could be any assistant's, or speaks of the character as of somebody else",
    "beside_the_point": "a reply doesn't answer what the user said, or makes no sense",
}
SYSTEM = (
    "You read a dialogue between a user and a character, and judge the character's replies by what is told of the "
    "character. Be strict, but take no fact for a contradiction that is merely new. "
    "Answer with a JSON object whose `verdict` is one of: "
    + "; ".join(f"`{verdict}`: {meaning}" for verdict, meaning in VERDICTS.items())
    + "."
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"verdict": {"type": "string", "enum": list(VERDICTS)}},
    "required": ["verdict"],
    "additionalProperties": False,
}
VERDICT_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Critic:
    """Keeps the rows that a model would keep; those that hold no dialogue stay."""

    seed: int

    async def write(self, task: Task, asking: Asking) -> Row:
        row = dict(task.content)
        subject = read_subject(row)
        if not subject.messages:
            return row
        said = "\n".join(
            f"{subject.card.name if role == 'assistant' else role}: {text}" for role, text in subject.messages
        )
        messages = [Line("system", SYSTEM), Line("user", f"{describe(subject.card)}\n\n# Dialogue\n{said}")]
        if asking.teacher.count(messages) + VERDICT_TOKENS > asking.teacher.max_model_len:
            raise Dropped("too_long_for_critic", said)
        question = Question(messages, VERDICT_TOKENS, 0.0, task.seed(self.seed), SCHEMA)
        verdict = await asking.ask(question, read_verdict)
        if verdict != KEEP:
            raise Dropped(f"critic_{verdict}", said)
        return row


@dataclass(frozen=True, slots=True)
class NoCritic:
    """Keeps every row."""

    async def write(self, task: Task, asking: Asking) -> Row:  # noqa: ARG002  # nobody is asked
        return dict(task.content)


def read_verdict(answer: Answer) -> str:
    """The verdict in an answer. Raises BadAnswer."""
    try:
        verdict = orjson.loads(answer.text)["verdict"]
    except (KeyError, TypeError, ValueError):
        verdict = None
    if verdict not in VERDICTS:
        raise BadAnswer("no_verdict", answer.text)
    return str(verdict)
