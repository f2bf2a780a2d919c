"""Atomic-level fidelity of interviews: `python -m models.evaluation atomic interviews.jsonl --model JUDGE … --out …`.

Each sentence of each answer is scored for each trait of which its card says how much there is (`big_five`), or for the
one that `--trait` and `--level` name. Interviews with `--times 2` or more tell how alike the answers are, too.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from characters.temperament import POLES
from rich.console import Console
from rich.table import Table

from models.evaluation.atomic import LEAST, LEVELS, MOST, SILENT, Level, find_level, score_atoms
from models.evaluation.scores import conclude
from models.evaluation.sentences import split_sentences
from models.synthesis.pipeline.command import Plan, build_parser
from models.synthesis.pipeline.journal import read_lines
from models.synthesis.pipeline.task import Asking, BadAnswer, Row, Task
from models.synthesis.teachers.teacher import Answer, Line, Question, Stop

SCORE_TOKENS = 16
MOST_SENTENCES = 64
SCALE = (*range(LEAST, MOST + 1), SILENT)
SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer", "enum": list(SCALE)}},
    "required": ["score"],
    "additionalProperties": False,
}
SYSTEM = (
    "You read one sentence that somebody said, and say what it shows of one trait of theirs. {least} is somebody "
    "{low}; {most} is somebody {high}; between them, 3 is as most people are. A sentence from which nothing can be "
    "told of the trait is {silent}. Answer with the number."
)


@dataclass(frozen=True, slots=True)
class TraitReader:
    """Has a model score each sentence of an answer for one trait. See `models.synthesis.pipeline.task.Writer`."""

    seed: int

    async def write(self, task: Task, asking: Asking) -> Row:
        row = task.content
        low, high = POLES[row["trait"]]
        system = SYSTEM.format(low=low, high=high, least=LEAST, most=MOST, silent=SILENT)
        scores = []
        for sentence in split_sentences(row["answer"])[:MOST_SENTENCES]:
            lines = [Line("system", system), Line("user", sentence)]
            question = Question(lines, SCORE_TOKENS, 0.0, task.seed(self.seed), SCHEMA)
            scores.append(await asking.ask(question, read_score))
        told = {key: row[key] for key in ("character", "question", "time", "trait", "level")}
        return {**told, "scores": scores}


def read_score(answer: Answer) -> int:
    """The number that was given. Raises BadAnswer."""
    try:
        score = orjson.loads(answer.text)["score"]
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer("no_score", answer.text) from error
    if score not in SCALE:
        raise BadAnswer("no_score", answer.text)
    return int(score)


def read_interview(row: Row, chosen: Mapping[str, Level]) -> Iterator[Task]:
    """A task for each trait of an interview's row; `chosen` traits take the place of the card's."""
    if not all(isinstance(row.get(key), str) for key in ("id", "character", "question", "answer")):
        yield Task(str(row.get("id")), row, "no_interview")
        return
    own = row.get("traits") if isinstance(row.get("traits"), dict) else {}
    assert isinstance(own, dict)
    levels = chosen or {
        trait: find_level(LEAST + score * (MOST - LEAST) / 100)
        for trait, score in own.items()
        if trait in POLES and isinstance(score, int)
    }
    if not levels:
        yield Task(row["id"], row, "no_traits")
    for trait, level in levels.items():
        yield Task(f"{row['id']}/{trait}", {**row, "trait": trait, "level": level, "time": row.get("time", 0)})


def score_traits(rows: Sequence[Row]) -> dict[str, Any]:
    """The three numbers by character and trait."""
    grouped: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["character"], row["trait"]].append(row)
    scores: dict[str, Any] = {}
    for (character, trait), those in sorted(grouped.items()):
        times: dict[int, list[list[int]]] = defaultdict(list)
        for row in those:
            times[row["time"]].append(row["scores"])
        level = those[0]["level"]
        score = score_atoms([times[time] for time in sorted(times)], level)
        scores.setdefault(character, {})[trait] = {"level": level, **asdict(score)}
    return scores


def show_scores(rows: list[Row], console: Console) -> dict[str, Any]:
    """A line for each character and trait."""
    scores = score_traits(rows)
    table = Table("character", "trait", "meant", "ACC", "IC", "RC", "sentences")
    for character, traits in scores.items():
        for trait, one in traits.items():
            shown = ["–" if one[name] is None else f"{one[name]:.2f}" for name in ("accuracy", "inner", "between")]
            table.add_row(character, trait, one["level"], *shown, str(one["sentences"]))
    console.print(table)
    return scores


def build_plan(options: argparse.Namespace) -> Plan:
    """What the arguments ask for. Raises Stop."""
    if not options.interviews.is_file():
        raise Stop(f"{options.interviews}: there is no such file")
    if (options.trait is None) != (options.level is None):
        raise Stop("--trait and --level go together")
    chosen: dict[str, Level] = {options.trait: options.level} if options.trait else {}

    def tasks() -> Iterator[Task]:
        return (task for row in read_lines(options.interviews) for task in read_interview(row, chosen))

    identity = {"interviews": options.interviews.name, "traits": chosen}
    return Plan("traits", options.out, tasks, TraitReader(options.seed), sum(1 for _ in tasks()), identity)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(__doc__)
    parser.add_argument("interviews", type=Path, help="what `interviews` wrote")
    parser.add_argument("--trait", choices=list(POLES))
    parser.add_argument("--level", choices=LEVELS)
    parser.set_defaults(temperature=0.0)
    return conclude(build_plan, parser.parse_args(arguments), show_scores)


if __name__ == "__main__":
    sys.exit(main())
