"""What a teacher is: messages in, a whole answer out. Knows nothing of characters, rows or files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from models.renderer import Role


class Stop(Exception):
    """The run can't go on; the message says why and what to do. What was written stays."""


class TeacherDead(Stop):
    """Nobody answers any more, or nobody may."""


class TeacherFailed(Exception):
    """No answer to this question, after every attempt; others may get one."""


class QuestionRefused(Exception):
    """This question is never answered: too long, say, or against somebody's rules."""


@dataclass(frozen=True, slots=True)
class Line:
    """One message, as text."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how to sample the answer. `schema` is the JSON schema that it follows."""

    messages: Sequence[Line]
    max_tokens: int
    temperature: float
    seed: int
    schema: Mapping[str, Any] | None = None
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, how many tokens it took, and whether it was cut off at `max_tokens`. Unknown counts are 0."""

    text: str
    tokens: int
    is_cut: bool = False
    prompt_tokens: int = 0


class Teacher(Protocol):
    """One model, ready to be asked many questions at a time."""

    model: str
    max_model_len: int

    def count(self, messages: Sequence[Line]) -> int:
        """How many tokens of the context these take, or more."""

    async def answer(self, question: Question) -> Answer:
        """The answer, once it is whole. Raises QuestionRefused, TeacherFailed or TeacherDead."""

    async def close(self) -> None:
        """Free the model, or its connections."""
