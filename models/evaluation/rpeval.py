"""RPEval, which needs no judge: `python -m models.evaluation rpeval eval_data.jsonl --url … --model … --out …`.

The file is RPEval's own (arXiv 2505.13157), `data/eval_data.jsonl`: rows `{id, type, context, checks: [{args}]}`.
Emotions and decisions are answered under a JSON schema and compared; a reply in character must have none of the row's
giveaway words. The score is the mean of the three classes' accuracies, as RPEval has it, although one class is a
fortieth of the rows; beside each stands what no effort at all would get. An answer that is no choice is wrong there,
and lost here.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from models.evaluation.marks import normalize
from models.evaluation.proportion import proportion
from models.evaluation.scores import conclude
from models.synthesis.pipeline.command import Plan, build_parser
from models.synthesis.pipeline.sources import Source, SourceRow
from models.synthesis.pipeline.task import Asking, BadAnswer, Row, Task
from models.synthesis.teachers.teacher import Answer, Line, Question

EMOTIONS = (
    *("anger", "anticipation", "determination", "disgust", "excitement", "fear", "guilt", "hope", "joy", "love"),
    *("pride", "sadness", "surprise"),
)
CHOICES: Mapping[str, tuple[str, ...]] = {"emotion": EMOTIONS, "decision": ("yes", "no")}
IN_CHARACTER = "in-character"
TYPES = (IN_CHARACTER, *CHOICES)
ROLES = ("system", "user", "assistant")
REPLY_TOKENS = 512
_STRAIGHT = str.maketrans("‘’“”", "''\"\"")


@dataclass(frozen=True, slots=True)
class Examinee:
    """Has a row answered. See `models.synthesis.pipeline.task.Writer`."""

    temperature: float
    seed: int

    async def write(self, task: Task, asking: Asking) -> Row:
        kind, expected = task.content["type"], task.content["expected"]
        lines = [Line(message["role"], message["content"]) for message in task.content["context"]]
        seed = task.seed(self.seed)
        question = Question(lines, REPLY_TOKENS, self.temperature, seed, build_schema(kind))
        said = await asking.ask(question, lambda answer: read_answer(kind, answer))
        return {"type": kind, "expected": expected, "said": said, "right": is_right(kind, expected, said)}


def build_schema(kind: str) -> dict[str, Any] | None:
    """What an answer looks like; a reply in character is free. An emotion comes with the reply that shows it."""
    if kind not in CHOICES:
        return None
    properties: dict[str, Any] = {kind: {"type": "string", "enum": list(CHOICES[kind])}}
    if kind == "emotion":
        properties["text"] = {"type": "string", "maxLength": REPLY_TOKENS}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_answer(kind: str, answer: Answer) -> str:
    """The choice that was made, or the reply. Raises BadAnswer."""
    if kind not in CHOICES:
        if not answer.text.strip():
            raise BadAnswer("empty")
        return answer.text
    try:
        said = orjson.loads(answer.text)[kind]
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer("no_choice", answer.text) from error
    if said not in CHOICES[kind]:
        raise BadAnswer("unknown_choice", answer.text)
    return str(said)


def is_right(kind: str, expected: Any, said: str) -> bool:
    """Whether it is what was expected: the very choice, or a reply without any of the words that give one away."""
    if kind in CHOICES:
        return bool(said == expected)
    text = normalize(said.translate(_STRAIGHT))
    return not any(normalize(word.translate(_STRAIGHT)) in text for word in expected)


def read_item(row: SourceRow) -> Task:
    """The task of a row, or what is wrong with it. RPEval writes `in-character` with a hyphen of its own."""
    if row.fault:
        return Task(row.key, row.value, row.fault)
    kind = str(row.value.get("type")).replace("\u2010", "-")
    context, checks = row.value.get("context"), row.value.get("checks")
    expected = checks[0].get("args") if isinstance(checks, list) and checks and isinstance(checks[0], dict) else None
    content = {"type": kind, "context": context, "expected": expected}
    if kind not in TYPES:
        return Task(row.key, content, "unknown_type")
    fits = expected in CHOICES[kind] if kind in CHOICES else _are_words(expected)
    return Task(row.key, content, "" if fits and _is_context(context) else "malformed")


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) and word.strip() for word in value)


def _is_context(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(message, dict) and message.get("role") in ROLES and isinstance(message.get("content"), str)
            for message in value
        )
    )


def score_rpeval(rows: Sequence[Row]) -> dict[str, Any]:
    """Accuracy and effortless accuracy by class, and the mean over the classes that there are."""
    classes: dict[str, Any] = {}
    for kind in TYPES:
        of_kind = [row for row in rows if row["type"] == kind]
        if not of_kind:
            continue
        told = Counter(row["expected"] for row in of_kind) if kind in CHOICES else Counter()
        # A reply that says nothing gives nothing away.
        effortless = told.most_common(1)[0][1] / len(of_kind) if told else 1.0
        accuracy = proportion([row["right"] for row in of_kind])
        classes[kind] = {**accuracy.to_json(), "told": str(accuracy), "effortless": effortless}
    return {"mean": sum(one["share"] for one in classes.values()) / len(classes), "classes": classes}


def show_scores(rows: list[Row], console: Console) -> dict[str, Any]:
    """A line for each class, and the mean."""
    scores = score_rpeval(rows)
    table = Table("class", "accuracy", "without effort")
    for kind, one in scores["classes"].items():
        table.add_row(kind, one["told"], f"{one['effortless']:.1%}")
    table.add_row("mean of classes", f"{scores['mean']:.1%}", "")
    console.print(table)
    return scores


def build_plan(options: argparse.Namespace) -> Plan:
    """What the arguments ask for. Raises Stop."""
    source = Source(options.data, options.limit)
    source.check()

    def tasks() -> Iterator[Task]:
        return map(read_item, source.rows())

    examinee = Examinee(options.temperature, options.seed)
    return Plan("rpeval", options.out, tasks, examinee, source.count(), {"data": source.digest()}, [source])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(__doc__)
    parser.add_argument("data", help="RPEval's eval_data.jsonl")
    parser.set_defaults(temperature=0.0, tries=1)
    return conclude(build_plan, parser.parse_args(arguments), show_scores)


if __name__ == "__main__":
    sys.exit(main())
