"""One PersonaGym run: its arguments, the files it writes, the plans of its stages."""

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from models.evaluation.outcome import Outcome, build_outcome, check_baseline, read_outcome
from models.evaluation.personagym_tree import Tree, load_tree
from models.evaluation.protocol import MODES, Mode
from models.evaluation.stages import (
    Answerer,
    ExampleWriter,
    JudgeWriter,
    answer_tasks,
    example_tasks,
    find_examples,
    split_batch,
    verdict_tasks,
)
from models.evaluation.tally import collect_scores, tally
from models.synthesis.pipeline.command import Plan
from models.synthesis.pipeline.journal import beside
from models.synthesis.pipeline.task import Row, Task, Writer
from models.synthesis.teachers.teacher import Stop


class Run:
    """One run's arguments, files and stages."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Raises Stop when the tree isn't as it should be."""
        self.options = options
        self.mode: Mode = MODES[options.mode]
        self.tree: Tree = load_tree(options.data, light=options.light, limit=options.limit, questions=options.questions)
        self.judges = [options.judge_model or options.model]
        self.judges += [options.second_judge_model] if options.second_judge_model else []
        self.answers_path = options.answers or beside(options.out, "answers.jsonl")
        self.verdict_paths = [options.out, beside(options.out, "second.jsonl")][: len(self.judges)]
        folder = options.examples or options.out.parent / "examples"
        self.examples_path = folder / f"{self._name_examples_file()}.jsonl"

    def plan_answers(self) -> Plan:
        """The questions, to the model."""
        writer = Answerer(self.mode, self.options.temperature, self.options.seed)
        return self._plan("answers", self.answers_path, answer_tasks(self.tree), writer, self._told)

    def plan_examples(self) -> Plan:
        """Score examples, by the first judge. Those of other runs are counted as done."""
        writer = ExampleWriter(self.mode, self.tree, self.options.example_characters)
        told = {"mode": self.mode.name, "characters": self.options.example_characters}
        return self._plan("examples", self.examples_path, example_tasks(self.tree, self.mode), writer, told)

    def plan_verdicts(self, place: int) -> Plan:
        """The answers, to the judge of that place."""
        examples = find_examples(self.tree, self.mode, read_rows(self.examples_path))
        judged = set(collect_scores(list(read_rows(self.verdict_paths[place]).values())))
        tasks = verdict_tasks(self.tree, self.mode, read_rows(self.answers_path), examples, judged)
        told = {**self._told, "model": self.options.model}
        writer = JudgeWriter(self.mode, self.tree)
        return self._plan("verdicts", self.verdict_paths[place], tasks, writer, told)

    def answering(self) -> argparse.Namespace:
        """The options of the stage that asks the model."""
        return self._with(url=_to_base(self.options.url), out=self.answers_path)

    def judging(self, place: int, out: Path, *, tries: int) -> argparse.Namespace:
        """The options of a stage that asks a judge: at temperature 0, whatever the run's seed."""
        options = self.options
        url = options.judge_url or options.url
        key = options.judge_api_key_file if options.judge_url else options.api_key_file
        if place:
            url = options.second_judge_url or url
            key = options.second_judge_api_key_file if options.second_judge_url else key
        chosen = {"model": self.judges[place], "url": _to_base(url), "api_key_file": key, "out": out, "tries": tries}
        return self._with(**chosen, temperature=0.0, seed=0, ray=None)

    def reasons(self) -> dict[str, str]:
        """Why questions came to nothing, by id, as the stages have written it down."""
        lost = {row["id"]: f"answer: {row['reason']}" for row in read_dropped(self.answers_path)}
        dropped = {row["id"]: f"examples: {row['reason']}" for row in read_dropped(self.examples_path)}
        for task in example_tasks(self.tree, self.mode):
            if reason := dropped.get(task.id):
                for item in task.content["items"]:
                    lost.setdefault("/".join((item["persona"], item["task"], str(item["index"]))), reason)
        for path in self.verdict_paths:
            for row in read_dropped(path):
                lost |= dict.fromkeys(split_batch(row["id"]), f"verdict: {row['reason']}")
        return lost

    def sum_up(self) -> tuple[Outcome, bool]:
        """What it comes to, and whether enough is left to speak of scores. Raises Stop."""
        verdicts = [list(read_rows(path).values()) for path in self.verdict_paths]
        result = tally(self.tree.items, [collect_scores(rows) for rows in verdicts], self.reasons())
        answers, examples = read_rows(self.answers_path), read_rows(self.examples_path)
        used = {task.id for task in example_tasks(self.tree, self.mode)}
        spent = {
            "answers": list(answers.values()),
            "examples": [row for name, row in examples.items() if name in used],
            "verdicts": [row for rows in verdicts for row in rows],
        }
        outcome = build_outcome(self.tree.items, result, self.identity(), spent, self.options)
        if self.options.baseline and result.is_sound:
            outcome |= check_baseline(outcome, read_outcome(self.options.baseline), self.options.baseline.name)
        return outcome, result.is_sound

    def identity(self) -> dict[str, Any]:
        """What scores must have in common to be compared."""
        return {
            "edition": "light" if self.options.light else "full",
            "mode": self.mode.name,
            "judges": self.judges,
            "digest": self.tree.digest,
        }

    @property
    def _told(self) -> dict[str, Any]:
        return {"mode": self.mode.name, "digest": self.tree.digest}

    def _with(self, **changed: Any) -> argparse.Namespace:  # options, whatever their types
        return argparse.Namespace(**{**vars(self.options), **changed})

    def _name_examples_file(self) -> str:
        """One for each judge and way of asking: a run that differs in these doesn't find them."""
        told = [self.judges[0], self.mode.name, self.options.example_characters if self.mode.is_structured else 0]
        return f"{self.mode.name}-{hashlib.sha256(orjson.dumps(told)).hexdigest()[:12]}"

    def _plan(self, command: str, out: Path, tasks: Iterator[Task], writer: Writer, told: dict[str, Any]) -> Plan:
        made = list(tasks)
        total = len({task.id for task in made} | read_rows(out).keys() | {row["id"] for row in read_dropped(out)})
        return Plan(f"personagym {command}", out, lambda: made, writer, total, told)


def read_rows(path: Path) -> dict[str, Row]:
    """The rows of an output by id; none where it isn't there yet. A line that a kill tore is left to the journal."""
    if not path.exists():
        return {}
    return {str(row["id"]): row for row in _whole_lines(path)}


def read_dropped(path: Path) -> Iterator[Row]:
    dropped = beside(path, "dropped.jsonl")
    return _whole_lines(dropped) if dropped.exists() else iter(())


def _whole_lines(path: Path) -> Iterator[Row]:
    whole = path.read_bytes().rpartition(b"\n")[0]
    try:
        for line in whole.splitlines():
            yield orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Stop(f"{path} has a broken line: it isn't as it was written") from error


def _to_base(url: str | None) -> str | None:
    """Up to the `/v1`, with or without which it may be given."""
    if url is None:
        return None
    base = url.rstrip("/")
    return base if base.endswith("/v1") else f"{base}/v1"
