"""PersonaGym, full or light: `python -m models.evaluation personagym --data DIR --url … --model … --out pg.jsonl`.

Reads PersonaGym's tree as it is. `--light` asks each task's first question. `--judge-url` and `--judge-model` name who
judges; without them the model judges itself, and the scores say so. Modes are told in `models.evaluation.protocol`.
Beside the verdicts in `--out` stand the answers and `scores.json`; score examples are shared by all runs that keep them
in one `--examples` folder. Killed at any point, the same command goes on. Scores are told where no more than 2 % of the
questions are lost; `--again` asks once more what was.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import orjson
from rich.console import Console

from models.evaluation.outcome import check_baseline, read_outcome, tell_outcome
from models.evaluation.personagym_run import Run, read_rows
from models.evaluation.personagym_tree import QUESTIONS_FOLDER
from models.evaluation.protocol import MODES
from models.evaluation.scores import write_scores
from models.evaluation.stages import example_tasks, verdict_tasks
from models.evaluation.tally import collect_scores
from models.synthesis.pipeline.command import Plan, build_parser, run_command
from models.synthesis.pipeline.journal import beside, read_lines
from models.synthesis.pipeline.task import Row
from models.synthesis.teachers.teacher import Stop

NOT_SOUND = 1
EXAMPLE_CHARACTERS = 600


def run(options: argparse.Namespace) -> int:
    """Do all stages, or what is left of them, and tell what they come to. Returns the exit status."""
    console = Console(stderr=True)
    try:
        here = Run(options)
        if options.baseline:
            _check_before(here)
        if options.again:
            _forget_lost(here)
        if options.dry_run:
            _tell_calls(here, Console())
            return 0
        return _run_stages(here) or _conclude(here, Console())
    except (Stop, OSError) as stop:
        console.print(f"stopped: {stop}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1


def _run_stages(here: Run) -> int:
    tries = here.options.tries
    stages: list[tuple[Callable[[], Plan], argparse.Namespace]] = [
        (here.plan_answers, here.answering()),
        (here.plan_examples, here.judging(0, here.examples_path, tries=tries)),
        # Text is judged once, as PersonaGym does.
        *(
            (
                partial(here.plan_verdicts, place),
                here.judging(place, path, tries=tries if here.mode.is_structured else 1),
            )
            for place, path in enumerate(here.verdict_paths)
        ),
    ]
    for plan, options in stages:
        if status := _do(plan, options):
            return status
    return 0


def _do(plan: Callable[[], Plan], options: argparse.Namespace) -> int:
    """A stage, planned once the one before is done."""
    return run_command(lambda _: plan(), options)


def _conclude(here: Run, console: Console) -> int:
    """Count, write down and tell."""
    outcome, is_sound = here.sum_up()
    path = write_scores(here.options.out, outcome)
    tell_outcome(outcome, console)
    console.print(f"written to {path}", markup=False, highlight=False, soft_wrap=True)
    return 0 if is_sound else NOT_SOUND


def _check_before(here: Run) -> None:
    """A baseline that nothing can be compared with is found out before anything is asked."""
    check_baseline({"identity": here.identity(), "by_persona": {}}, read_outcome(here.options.baseline), "")


def _forget_lost(here: Run) -> None:
    """Have everything asked once more that came to nothing."""
    for path in (here.answers_path, here.examples_path, *here.verdict_paths):
        _keep_rows(beside(path, "dropped.jsonl"), lambda _: False)
    for path in here.verdict_paths:
        _keep_rows(path, lambda row: None not in row["scores"].values())


def _keep_rows(path: Path, is_kept: Callable[[Row], bool]) -> None:
    """Leave the rows that are to stay. The file is there as a whole at any moment. Raises Stop."""
    if not path.exists():
        return
    scratch = path.with_suffix(".tmp")
    try:
        with scratch.open("wb") as file:
            file.writelines(
                orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in read_lines(path) if is_kept(row)
            )
        scratch.replace(path)
    except OSError as error:
        raise Stop(f"{path} can't be written: {error.strerror}") from error


def _tell_calls(here: Run, console: Console) -> None:
    """How often whom a run would ask."""
    answered, written = read_rows(here.answers_path), read_rows(here.examples_path)
    judged = [collect_scores(list(read_rows(path).values())) for path in here.verdict_paths]
    questions = len(here.tree.items)
    examples = list(example_tasks(here.tree, here.mode))
    left = sum(task.id not in written for task in examples)
    batches = len(list(verdict_tasks(here.tree, here.mode, *_all_ready(here), set()))) * len(here.judges)
    console.print(
        f"{questions} questions to {len({item.persona for item in here.tree.items})} personas; left to ask: "
        f"{questions - len(answered)} answers of {here.options.model}, {left} of {len(examples)} score examples of "
        f"{here.judges[0]}, {batches} verdicts of {' and '.join(here.judges)} "
        f"({min(map(len, judged))} questions are judged)",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _all_ready(here: Run) -> tuple[dict[str, Row], dict[str, Sequence[str]]]:
    """Answers and examples as if there were all."""
    return {item.id: {"answer": ""} for item in here.tree.items}, {item.id: [] for item in here.tree.items}


def parse_price(text: str) -> tuple[float, float]:
    """`PROMPT,COMPLETION`, for a million tokens each."""
    try:
        prompt, completion = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 2.5,10") from None
    if not (0 <= prompt < 1e6 and 0 <= completion < 1e6):
        raise argparse.ArgumentTypeError(f"{text!r} is no price")
    return prompt, completion


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="PersonaGym's tree")
    add("--questions", default=QUESTIONS_FOLDER, help="the folder of its questions")
    add("--mode", choices=list(MODES), default="opencharacter")
    add("--light", action="store_true", help="the first question of each task alone")
    add("--answers", type=Path, help="answers of another run, to have them judged again (default: beside --out)")
    add("--examples", type=Path, help="a folder for score examples (default: `examples` beside --out)")
    add("--example-characters", type=int, default=EXAMPLE_CHARACTERS, metavar="N", help="longest example, in `strict`")
    add("--baseline", type=Path, help="the scores.json of a run to compare with, persona by persona")
    add("--again", action="store_true", help="ask once more what was lost before")
    add("--dry-run", action="store_true", help="say how much there is to ask, and ask nothing")
    add("--price", type=parse_price, metavar="IN,OUT", help="of a million tokens of the model's")
    add("--judge-price", type=parse_price, metavar="IN,OUT", help="of a million tokens of the judge's")
    for name in ("judge", "second-judge"):
        group = parser.add_argument_group(f"the {name.replace('-', ' ')}")
        group.add_argument(f"--{name}-url", help="an OpenAI-compatible server (default: the one before)")
        group.add_argument(f"--{name}-model", help="its name there; where no server is named, a folder or hub id")
        group.add_argument(f"--{name}-api-key-file", type=Path)
    parser.set_defaults(temperature=0.9, concurrency=64)
    options = parser.parse_args(arguments)
    if options.judge_url and not options.judge_model:
        parser.error("--judge-url needs --judge-model")
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
