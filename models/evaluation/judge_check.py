"""Is a judge fit to judge? `python -m models.evaluation judge check --model JUDGE --url … --out build/judge.jsonl`.

It is asked who is speaking, with four to choose from (`models.evaluation.lineup`). With `--data` the question is
PersonaEval's own (arXiv 2508.10014): `Literary.csv`, `Drama.csv` or `Expertise.csv`, with columns `prompt`, `option1`
to `option4` (in the last `option5`, too) and `gt`, whose prompts ask for the probability of each. People are right nine
times in ten there, the best model that its authors tried seven times. Ends with status 0 for a judge that is fit, 3 for
one that isn't.
"""

import argparse
import csv
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from characters.library import load_library
from rich.console import Console

from models.evaluation.lineup import Lineup, build_lineups
from models.evaluation.proportion import Proportion, proportion
from models.evaluation.scores import conclude, read_rows
from models.synthesis.pipeline.command import Plan, build_parser
from models.synthesis.pipeline.task import Asking, BadAnswer, Row, Task
from models.synthesis.teachers.teacher import Answer, Line, Question, Stop

# Of PersonaEval: people, and the best model of its paper.
PEOPLE, BEST_MODEL = 0.908, 0.69
# What the lower end of a judge's interval must reach; the best model of the paper doesn't quite, on its hard cases.
FIT = 0.65
NOT_FIT_STATUS = 3
MOST_OPTIONS = 5
ANSWER_TOKENS = 400
# PersonaEval's prompts are dialogues of whole scenes.
csv.field_size_limit(1 << 20)
_OBJECT = re.compile(r"\{[^{}]*\}", re.DOTALL)
SYSTEM = (
    "You are shown a line from a story, its names blotted out, and a few characters. Say which of them speaks: go by "
    "what they know, what they care for, and how they talk."
)


@dataclass(frozen=True, slots=True)
class Witness:
    """Has a judge say who speaks. See `models.synthesis.pipeline.task.Writer`."""

    seed: int

    async def write(self, task: Task, asking: Asking) -> Row:
        content = task.content
        options: list[str] = content["options"]
        schema = build_schema(options, weighed=content["weighed"])
        lines = [Line("system", SYSTEM)] * (not content["weighed"]) + [Line("user", content["prompt"])]
        said = await asking.ask(
            Question(lines, ANSWER_TOKENS, 0.0, task.seed(self.seed), schema),
            lambda answer: read_choice(answer, options, weighed=content["weighed"]),
        )
        told = {"speaker": content["speaker"], "said": said, "options": len(options)}
        return {**told, "right": said == content["speaker"]}


def build_schema(options: Sequence[str], *, weighed: bool) -> dict[str, Any]:
    """One of the options; `weighed`, a probability for each of them."""
    if weighed:
        properties: dict[str, Any] = {option: {"type": "number", "minimum": 0, "maximum": 1} for option in options}
    else:
        properties = {"speaker": {"type": "string", "enum": list(options)}}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def read_choice(answer: Answer, options: Sequence[str], *, weighed: bool) -> str:
    """Who was named; of weights the heaviest, and nobody where two are. Raises BadAnswer."""
    found = _OBJECT.findall(answer.text)
    try:
        said = orjson.loads(found[-1])
        if not weighed:
            named = said["speaker"]
        else:
            weights = {option: float(said[option]) for option in options}
            heaviest = [option for option, weight in weights.items() if weight == max(weights.values())]
            named = heaviest[0] if len(heaviest) == 1 else ""
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise BadAnswer("no_choice", answer.text) from error
    if named and named not in options:
        raise BadAnswer("unknown_choice", answer.text)
    return str(named)


def read_lineup(lineup: Lineup) -> Task:
    """The task of a lineup."""
    listed = "\n".join(f"- {name}: {told}" for name, told in lineup.options.items())
    prompt = f"The line:\n{lineup.line}\n\nThe characters:\n{listed}\n\nWho speaks?"
    content = {"prompt": prompt, "options": list(lineup.options), "speaker": lineup.speaker, "weighed": False}
    return Task(lineup.id, content)


def read_csv(path: Path, limit: int | None) -> Iterator[Task]:
    """The tasks of a file of PersonaEval's. Raises Stop where it is none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = {"prompt", "option1", "option2", "gt"} - set(rows.fieldnames or ())
            if missing:
                raise Stop(f"{path} has no column {', '.join(sorted(missing))}: it is no file of PersonaEval's")
            for number, row in enumerate(rows):
                if limit is not None and number >= limit:
                    return
                yield _read_csv_row(f"{path.stem}/{number}", row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Stop(f"{path} can't be read: {error}") from error


def _read_csv_row(key: str, row: dict[str, Any]) -> Task:
    options = [row[name] for name in (f"option{n}" for n in range(1, MOST_OPTIONS + 1)) if row.get(name)]
    fits = bool(row["prompt"]) and row["gt"] in options and len(options) == len(set(options)) > 1
    content = {"prompt": row["prompt"], "options": options, "speaker": row["gt"], "weighed": True}
    return Task(key, content, "" if fits else "malformed")


def judge_judge(found: Proportion, chance: float) -> str:
    """A verdict: `guesses`, `unfit` or `fit`, by the lower end of the interval."""
    low, _ = found.interval
    return "fit" if low >= FIT else "unfit" if low > chance else "guesses"


def score_witness(rows: Sequence[Row]) -> dict[str, Any]:
    """How often it was right, how often chance is, and the verdict."""
    found = proportion([row["right"] for row in rows])
    chance = sum(1 / row["options"] for row in rows) / len(rows)
    told = {**found.to_json(), "told": str(found), "chance": chance, "verdict": judge_judge(found, chance)}
    return {**told, "people": PEOPLE, "best_model": BEST_MODEL}


def show_scores(rows: list[Row], console: Console) -> dict[str, Any]:
    """The share, what it compares with, and the verdict in a sentence."""
    scores = score_witness(rows)
    meaning = {
        "fit": "it can tell characters apart, and may judge how they are played",
        "unfit": "it does better than guessing, but not well enough to judge by",
        "guesses": "it can't be told from guessing: what it says of a character is worth nothing",
    }[scores["verdict"]]
    console.print(f"right {scores['told']}; guessing gets {scores['chance']:.0%}", highlight=False)
    console.print(f"{scores['verdict']}: {meaning}", style="green" if scores["verdict"] == "fit" else "yellow")
    console.print(f"on PersonaEval people get {PEOPLE:.0%}, its paper's best model {BEST_MODEL:.0%}", highlight=False)
    return scores


def build_plan(options: argparse.Namespace) -> Plan:
    """What the arguments ask for. Raises Stop."""

    def tasks() -> Iterator[Task]:
        if options.data is None:
            return map(read_lineup, build_lineups(load_library(), options.seed)[: options.limit])
        return read_csv(options.data, options.limit)

    identity = {"data": options.data.name if options.data else "library"}
    return Plan("judge check", options.out, tasks, Witness(options.seed), sum(1 for _ in tasks()), identity)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(__doc__)
    parser.add_argument("--data", type=Path, help="a CSV file of PersonaEval (default: lines of the cards that ship)")
    parser.set_defaults(temperature=0.0)
    options = parser.parse_args(arguments)
    if status := conclude(build_plan, options, show_scores):
        return status
    return 0 if score_witness(read_rows(options.out))["verdict"] == "fit" else NOT_FIT_STATUS


if __name__ == "__main__":
    sys.exit(main())
