"""Strategy G: the character answers turn by turn, with the very head that serving sends as the system's message."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.sections import head_text
from models.synthesis.pipeline.task import Asking, BadAnswer, Dropped, Row, Task
from models.synthesis.playing import Casting, build_row
from models.synthesis.teachers.teacher import Answer, Line, Question

# A reply that has less room than this isn't begun.
LEAST_REPLY_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Generation:
    """Has what the user says answered by the character. Only the user's lines of a task are read."""

    casting: Casting
    temperature: float
    seed: int
    reply_tokens: int

    async def write(self, task: Task, asking: Asking) -> Row:
        card = self.casting.card(task, self.seed)
        said: list[Line] = []
        for role, text in task.content["lines"]:
            if role == "user":
                said.append(Line("user", text))
                question = self._question(asking, [Line("system", head_text(card)), *said], task.seed(self.seed))
                said.append(Line("assistant", await asking.ask(question, read_reply)))
        return build_row(task, card, said, "G")

    def _question(self, asking: Asking, messages: Sequence[Line], seed: int) -> Question:
        room = asking.teacher.max_model_len - asking.teacher.count(messages)
        if room < LEAST_REPLY_TOKENS:
            raise Dropped("no_room", messages[-1].text)
        # Each turn of its own seed, out of the way of those of further tries.
        seed = (seed + 1000 * len(messages)) % 2**31
        return Question(messages, min(self.reply_tokens, room), self.temperature, seed)


def read_reply(answer: Answer) -> str:
    """The reply, whole and saying something. Raises BadAnswer."""
    if answer.is_cut:
        raise BadAnswer("cut_off", answer.text)
    if not (text := answer.text.strip()):
        raise BadAnswer("empty_reply")
    return text
