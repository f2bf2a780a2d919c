"""What there is to do for one row, who does it, and what comes of it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar

import orjson

from models.synthesis.teachers.teacher import (
    Answer,
    Question,
    QuestionRefused,
    Teacher,
    TeacherDead,
    TeacherFailed,
)

T = TypeVar("T")

# `garbage`: the teacher's answers were of no use. `failed`: it didn't answer; `dead`: it never will.
Kind = Literal["kept", "dropped", "garbage", "failed", "dead"]
Row = dict[str, Any]
# Of a row that is dropped, what is kept to look at.
MOST_SAMPLED = 400


class Dropped(Exception):
    """The row is left out, for a `reason` that is counted; `sample` shows what was wrong with it."""

    def __init__(self, reason: str, sample: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.sample = sample


class BadAnswer(Dropped):
    """The answer can't be used: the question is asked again."""


class Garbage(Dropped):
    """No answer to a question could be used."""


@dataclass(frozen=True, slots=True)
class Task:
    """A row to be made. `id` is the same in every run; `fault` is why it is left out, known before anybody is asked."""

    id: str
    content: Mapping[str, Any]
    fault: str = ""

    def seed(self, seed: int) -> int:
        """The seed of this row in a run with `seed`."""
        digest = hashlib.sha256(f"{seed}/{self.id}".encode()).digest()
        return int.from_bytes(digest[:4]) >> 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task: its `row`, or the `reason` why there is none. `retried` are reasons to have asked again."""

    id: str
    kind: Kind
    row: Row = field(default_factory=dict)
    reason: str = ""
    sample: str = ""
    tokens: int = 0
    retried: tuple[str, ...] = ()


class Asking:
    """The questions of one task: what they cost, and why some were asked again."""

    def __init__(self, teacher: Teacher, tries: int) -> None:
        self.teacher = teacher
        self.tokens = 0
        self.retried: list[str] = []
        self._tries = tries

    async def ask(self, question: Question, read: Callable[[Answer], T]) -> T:
        """What `read` makes of the answer. Where it raises BadAnswer, it is asked again with another seed.

        Raises Garbage when that was tried often enough, Dropped when the teacher refuses, TeacherFailed, TeacherDead.
        """
        for attempt in range(self._tries):
            again = replace(question, seed=(question.seed + attempt) % 2**31)
            try:
                answer = await self.teacher.answer(again)
            except QuestionRefused as error:
                raise Dropped("refused", str(error)) from error
            self.tokens += answer.tokens
            try:
                return read(answer)
            except BadAnswer as error:
                bad = error
            if attempt + 1 < self._tries:
                self.retried.append(bad.reason)
        raise Garbage(bad.reason, bad.sample or answer.text)


class Writer(Protocol):
    """Makes rows of tasks. Travels to other processes: plain values alone."""

    async def write(self, task: Task, asking: Asking) -> Row:
        """The row, without its id. Raises Dropped, and as `Asking.ask` does."""


async def carry_out(task: Task, writer: Writer, teacher: Teacher, tries: int) -> Outcome:
    """What comes of the task, whatever happens to it."""
    if task.fault:
        return Outcome(task.id, "dropped", reason=task.fault, sample=_sampled(task.content))
    asking = Asking(teacher, tries)
    kind: Kind
    try:
        row = await writer.write(task, asking)
        return Outcome(task.id, "kept", row, tokens=asking.tokens, retried=tuple(asking.retried))
    except Dropped as error:
        kind, reason, sample = "garbage" if isinstance(error, Garbage) else "dropped", error.reason, error.sample
    except TeacherFailed as error:
        kind, reason, sample = "failed", "teacher_failed", str(error)
    except TeacherDead as error:
        kind, reason, sample = "dead", "teacher_dead", str(error)
    sample = sample[:MOST_SAMPLED] or _sampled(task.content)
    return Outcome(task.id, kind, {}, reason, sample, asking.tokens, tuple(asking.retried))


def _sampled(content: Mapping[str, Any]) -> str:
    shown = {key: value[:MOST_SAMPLED] if isinstance(value, str) else value for key, value in content.items()}
    return orjson.dumps(shown).decode()[:MOST_SAMPLED]
