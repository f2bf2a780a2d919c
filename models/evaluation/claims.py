"""APC scores of interviews: `python -m models.evaluation apc interviews.jsonl --model JUDGE --url … --out …`.

Each answer is held against each claim of its card (`models.evaluation.apc`). The judge is a classifier of natural
language inference (`--nli`), or a model that answers under a schema, whose verdicts are all or nothing.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import orjson
from rich.console import Console

from models.evaluation.apc import ApcScore, score_apc
from models.evaluation.scores import conclude
from models.nli import LocalNli, NliError, Verdict, open_nli
from models.synthesis.pipeline.command import Plan, build_parser
from models.synthesis.pipeline.journal import read_lines
from models.synthesis.pipeline.task import Asking, BadAnswer, Row, Task
from models.synthesis.teachers.teacher import Answer, Line, Question, Stop

VERDICT_TOKENS = 64
FOLLOWS = {"borne out": (1.0, 0.0, 0.0), "left open": (0.0, 1.0, 0.0), "contradicted": (0.0, 0.0, 1.0)}
ASKED = {"yes": 1.0, "no": 0.0}
SYSTEM = (
    "You compare what somebody said with one claim about them. Decide two things. `asked`: does the question call for "
    "this very fact, so that a good answer has it? `answer`: is the claim borne out by what was said, contradicted by "
    "it, or left open? Judge by what was said alone; what isn't mentioned is left open."
)
SCHEMA = {
    "type": "object",
    "properties": {
        "asked": {"type": "string", "enum": list(ASKED)},
        "answer": {"type": "string", "enum": list(FOLLOWS)},
    },
    "required": ["asked", "answer"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class ClaimReader:
    """Has a model say of each claim whether it was asked for, and what became of it."""

    seed: int

    async def write(self, task: Task, asking: Asking) -> Row:
        row, verdicts, relevances = task.content, [], []
        for claim in row["claims"]:
            said = f"Question: {row['question']}\n\nWhat was said: {row['answer']}\n\nClaim: {claim}"
            lines = [Line("system", SYSTEM), Line("user", said)]
            verdict, relevance = await asking.ask(
                Question(lines, VERDICT_TOKENS, 0.0, task.seed(self.seed), SCHEMA), read_verdict
            )
            verdicts.append(verdict)
            relevances.append(relevance)
        return _row(row, verdicts, score_apc(verdicts, relevances))


@dataclass(slots=True)
class ClaimClassifier:
    """Has a classifier say what follows. It is loaded with the first claim."""

    model: str
    _nli: LocalNli | None = field(default=None)

    async def write(self, task: Task, _: Asking) -> Row:
        row = task.content
        try:
            if self._nli is None:
                self._nli = await open_nli(self.model)
            premise = f"{row['character']} says: “{row['answer']}”"
            verdicts = await self._nli.judge([(premise, claim) for claim in row["claims"]])
        except NliError as error:
            raise Stop(str(error)) from error
        return _row(row, verdicts, score_apc(verdicts))


def read_verdict(answer: Answer) -> tuple[Verdict, float]:
    """What became of a claim, and whether it was asked for. Raises BadAnswer."""
    try:
        said = orjson.loads(answer.text)
        return Verdict(*FOLLOWS[said["answer"]]), ASKED[said["asked"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer("no_verdict", answer.text) from error


def read_interview(row: Row) -> Task:
    """The task of an interview's row, or what is wrong with it."""
    claims = row.get("claims")
    texts = (row.get("character"), row.get("question"), row.get("answer"))
    if not isinstance(claims, list) or not all(isinstance(text, str) for text in (*texts, *claims)):
        return Task(str(row.get("id")), row, "no_interview")
    return Task(str(row.get("id")), row, "" if claims else "no_claims")


def _row(row: Any, verdicts: Sequence[Verdict], score: ApcScore) -> Row:
    told = {"character": row["character"], "question": row["question"], **asdict(score), "mean": score.mean}
    return {**told, "contradicted": sum(verdict.contradicted for verdict in verdicts)}


def show_scores(rows: list[Row], console: Console) -> dict[str, Any]:
    """The mean over answers, by character the mean of theirs, and what was contradicted."""
    by_character: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        by_character[row["character"]].append(row["mean"])
    scores = {
        "apc": fmean(row["total"] for row in rows),
        "gain": fmean(row["gain"] for row in rows),
        "mean": fmean(row["mean"] for row in rows),
        "contradicted": fmean(row["contradicted"] for row in rows),
        "by_character": {name: fmean(means) for name, means in sorted(by_character.items())},
    }
    console.print(
        f"APC {scores['apc']:.2f} an answer ({scores['mean']:.1%} of its claims), {scores['gain']:+.2f} over silence; "
        f"{scores['contradicted']:.2f} claims contradicted",
        highlight=False,
    )
    return scores


def build_plan(options: argparse.Namespace) -> Plan:
    """What the arguments ask for. Raises Stop."""
    if not (options.nli or options.model):
        raise Stop("name a judge: --model, or --nli for a classifier")
    if not options.interviews.is_file():
        raise Stop(f"{options.interviews}: there is no such file")

    def tasks() -> Iterator[Task]:
        return map(read_interview, read_lines(options.interviews))

    writer = ClaimClassifier(options.nli) if options.nli else ClaimReader(options.seed)
    identity = {"interviews": options.interviews.name, "nli": options.nli}
    total = sum(1 for _ in read_lines(options.interviews))
    return Plan("claims", options.out, tasks, writer, total, identity, asks=options.nli is None)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(__doc__, teacher_needed=False)
    parser.add_argument("interviews", type=Path, help="what `interviews` wrote")
    parser.add_argument("--nli", help="a classifier of natural language inference, a folder or a hub id")
    parser.set_defaults(temperature=0.0)
    return conclude(build_plan, parser.parse_args(arguments), show_scores)


if __name__ == "__main__":
    sys.exit(main())
