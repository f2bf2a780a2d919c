"""PersonaGym's three stages as rows to be made: answers, score examples, verdicts.

Each row stands in the output of its stage (`models.synthesis.pipeline`), so each stage goes on where it was killed. A
stage reads what the one before wrote. Rows of examples are named by what they depend on and nothing else: one file of
them serves every model that is measured with the same judge.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import orjson

from models.evaluation.judge import (
    VERDICT_SCHEMA,
    VERDICT_TOKENS,
    build_examples_schema,
    parse_examples,
    parse_verdicts,
    read_schema_examples,
    read_verdict,
)
from models.evaluation.personagym_tree import Item, Tree
from models.evaluation.protocol import Mode, ask_examples, ask_judge, ask_persona
from models.synthesis.pipeline.task import Asking, BadAnswer, Row, Task
from models.synthesis.teachers.teacher import Answer, Question

# Of text that is read: five examples, or an evaluation, for each question of a prompt.
EXAMPLES_TOKENS, EVALUATION_TOKENS = 1500, 700
# What stands around an example in JSON, and the share of letters that take more than a byte.
EXAMPLES_SPARE_TOKENS = 300


@dataclass(frozen=True, slots=True)
class Answerer:
    """Has a persona answer a question. Rows: `{persona, task, index, question, answer, is_cut}` and what it cost."""

    mode: Mode
    temperature: float
    seed: int

    async def write(self, task: Task, asking: Asking) -> Row:
        item = Item(**task.content)
        question = Question(
            ask_persona(self.mode, item),
            self.mode.reply_tokens,
            self.temperature,
            task.seed(self.seed),
            top_p=self.mode.top_p,
        )
        text, answer = await asking.ask(question, _read_reply)
        return {**asdict(item), "answer": text, "is_cut": answer.is_cut, **_cost(answer)}


@dataclass(frozen=True, slots=True)
class ExampleWriter:
    """Has score examples written for one question or several of a persona's. Rows: `{examples: [[five texts], …]}`."""

    mode: Mode
    tree: Tree
    characters: int

    async def write(self, task: Task, asking: Asking) -> Row:
        items = [Item(**one) for one in task.content["items"]]
        lines = ask_examples(self.mode, items, self.tree.rubrics[items[0].task], self.tree.prompts)
        tokens, schema = EXAMPLES_TOKENS * len(items), None
        if self.mode.is_structured:
            tokens, schema = 5 * self.characters + EXAMPLES_SPARE_TOKENS, build_examples_schema(self.characters)

        def read(answer: Answer) -> tuple[list[list[str]], Answer]:
            examples = [read_schema_examples(answer)] if schema else parse_examples(answer.text, len(items))
            return examples, answer

        # Another seed for each try is the pipeline's; at temperature 0 it makes no difference.
        examples, answer = await asking.ask(Question(lines, tokens, 0.0, task.seed(0), schema), read)
        return {"examples": examples, **_cost(answer)}


@dataclass(frozen=True, slots=True)
class JudgeWriter:
    """Has answers judged. Rows: `{scores: {question's id: score or null}, reason}`; null is one that wasn't found."""

    mode: Mode
    tree: Tree

    async def write(self, task: Task, asking: Asking) -> Row:
        rows = task.content["rows"]
        items = [Item(**row["item"]) for row in rows]
        answers, examples = [row["answer"] for row in rows], [row["examples"] for row in rows]
        lines = ask_judge(self.mode, items, answers, examples, self.tree.rubrics[items[0].task], self.tree.prompts)
        tokens = VERDICT_TOKENS if self.mode.is_structured else EVALUATION_TOKENS * len(items)
        schema = VERDICT_SCHEMA if self.mode.is_structured else None

        def read(answer: Answer) -> tuple[list[int | None], str, Answer]:
            if schema:
                score, reason = read_verdict(answer)
                return [score], reason, answer
            scores = parse_verdicts(answer.text, len(items))
            if not any(scores):
                raise BadAnswer("no_verdict", answer.text)
            return scores, answer.text, answer

        scores, reason, answer = await asking.ask(Question(lines, tokens, 0.0, task.seed(0), schema), read)
        by_id = {item.id: score for item, score in zip(items, scores, strict=True)}
        return {"scores": by_id, "reason": reason, **_cost(answer)}


def answer_tasks(tree: Tree) -> Iterator[Task]:
    """One for each question."""
    return (Task(item.id, asdict(item)) for item in tree.items)


def example_tasks(tree: Tree, mode: Mode) -> Iterator[Task]:
    """One for each question, or for the questions of a batch."""
    for items in _batches(tree.items, mode.examples_batch):
        yield Task(name_examples(tree, mode, items), {"items": [asdict(item) for item in items]})


def name_examples(tree: Tree, mode: Mode, items: Sequence[Item]) -> str:
    """What the examples of these questions are found by again: a hash of all that they depend on, but for the judge."""
    asked = ask_examples(mode, items, tree.rubrics[items[0].task], tree.prompts)
    return hashlib.sha256(orjson.dumps([line.text for line in asked])).hexdigest()[:32]


def find_examples(tree: Tree, mode: Mode, rows: Mapping[str, Row]) -> dict[str, Sequence[str]]:
    """The examples of each question that has some, by its id."""
    return {
        item.id: examples
        for items in _batches(tree.items, mode.examples_batch)
        if (row := rows.get(name_examples(tree, mode, items)))
        for item, examples in zip(items, row["examples"], strict=True)
    }


def verdict_tasks(
    tree: Tree, mode: Mode, answers: Mapping[str, Row], examples: Mapping[str, Sequence[str]], judged: set[str]
) -> Iterator[Task]:
    """One for each batch of answers that have examples and aren't judged yet."""
    for items in _batches(tree.items, mode.batch):
        ready = [item for item in items if item.id in answers and item.id in examples and item.id not in judged]
        if ready:
            rows = [
                {"item": asdict(item), "answer": answers[item.id]["answer"], "examples": examples[item.id]}
                for item in ready
            ]
            yield Task(
                f"{ready[0].persona}/{ready[0].task}/{','.join(str(item.index) for item in ready)}", {"rows": rows}
            )


def _batches(items: Sequence[Item], size: int) -> Iterator[list[Item]]:
    """Questions of one persona and task, at most `size` of them together."""
    for _, those in groupby(items, key=lambda item: (item.persona, item.task)):
        group = list(those)
        yield from (group[start : start + size] for start in range(0, len(group), size))


def _read_reply(answer: Answer) -> tuple[str, Answer]:
    if not answer.text.strip():
        raise BadAnswer("empty")
    return answer.text.strip(), answer


def _cost(answer: Answer) -> dict[str, Any]:
    return {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.tokens}


def split_batch(task_id: str) -> list[str]:
    """The ids of the questions that a verdict's task is named after."""
    persona, task, indices = task_id.rsplit("/", 2)
    return [f"{persona}/{task}/{index}" for index in indices.split(",")]
