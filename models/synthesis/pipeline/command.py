"""What all commands of synthesis have in common: their options, and a run from opening the output to its report."""

import argparse
import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from models.synthesis.pipeline.journal import Journal
from models.synthesis.pipeline.ledger import Ledger
from models.synthesis.pipeline.licences import PURPOSES, warn_of_licences
from models.synthesis.pipeline.manifest import Manifest
from models.synthesis.pipeline.progress import ProgressBar, tell_counts
from models.synthesis.pipeline.report import write_report
from models.synthesis.pipeline.run import Tasks, run
from models.synthesis.pipeline.sources import Source
from models.synthesis.pipeline.task import Writer, carry_out
from models.synthesis.teachers.opening import TeacherOptions, open_teacher
from models.synthesis.teachers.teacher import Stop, Teacher

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Plan:
    """What a command is to do. `identity` is what its rows depend on beside the teacher; `origins` names sources.

    `total` counts the tasks, where that is known. Without a `teacher` nobody is asked.
    """

    command: str
    out: Path
    tasks: Tasks
    writer: Writer
    total: int | None
    identity: Mapping[str, Any]
    sources: Iterable[Source] = ()
    origins: tuple[str, ...] = ()
    asks: bool = True


class NoTeacher:
    """Stands where nobody is asked anything."""

    model = ""
    max_model_len = 0

    def count(self, messages: object) -> int:
        raise AssertionError(messages)

    async def answer(self, question: object) -> Any:  # never returns
        raise AssertionError(question)

    async def close(self) -> None:
        pass


def build_parser(doc: str | None, *, teacher_needed: bool = True) -> argparse.ArgumentParser:
    """A parser with the options that all commands take."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="JSONL to write, or to go on with")
    add("--seed", type=int, default=1)
    add("--limit", type=_positive, help="read so many rows of each source at most")
    add("--purpose", choices=PURPOSES, default=PURPOSES[0], help="what models are trained for")
    teacher = parser.add_argument_group("the teacher")
    add = teacher.add_argument
    add("--model", required=teacher_needed, help="a folder or hub id to load here, or a name behind --url")
    add("--url", help="an OpenAI-compatible server, up to its /v1")
    add("--api-key-file", type=Path, help="a file with the key for --url")
    add("--max-model-len", type=_positive, help="its context, in tokens (behind --url 8192 where not given)")
    add("--concurrency", type=_positive, default=256, help="questions that are asked at a time")
    add("--gpus", type=_positive, default=1, help="that a model loaded here is spread over")
    add("--temperature", type=float, default=0.8)
    add("--tries", type=_positive, default=3, help="how often to ask for an answer that can be used")
    add("--attempts", type=_positive, default=6, help="how often to ask a server that fails, with growing pauses")
    add("--timeout-s", type=float, default=300.0, help="for an answer from --url")
    add("--stop-after", type=_positive, default=50, help="stop when the teacher was of no use so often in a row")
    add("--ray", type=_positive, metavar="WORKERS", help="run on so many workers of Ray (package ray[data])")
    return parser


def run_command(build_plan: Callable[[argparse.Namespace], Plan], options: argparse.Namespace) -> int:
    """Do what the arguments ask for, or what is left of it. Returns 0 when all is done, 1 stopped, 130 interrupted."""
    console = Console(stderr=True)
    try:
        return _carry_out(build_plan(options), options, console)
    except Stop as stop:
        console.print(f"stopped: {stop}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on from here", markup=False)
        return INTERRUPTED


def build_teacher_options(options: argparse.Namespace) -> TeacherOptions:
    """Which teacher the arguments name. Raises Stop when the key can't be read."""
    try:
        api_key = options.api_key_file.read_text().strip() if options.api_key_file else None
    except OSError as error:
        raise Stop(f"{options.api_key_file} can't be read: {error.strerror}") from error
    return TeacherOptions(
        options.model or "",
        options.url,
        api_key,
        options.max_model_len,
        options.timeout_s,
        options.attempts,
        options.concurrency,
        options.gpus,
    )


def _carry_out(plan: Plan, options: argparse.Namespace, console: Console) -> int:
    teacher = build_teacher_options(options)
    asked = {"teacher": teacher.model, "seed": options.seed, "temperature": options.temperature} if plan.asks else {}
    origins = (*plan.origins, *([teacher.model] if plan.asks else []))
    manifest = Manifest(plan.out, plan.command, {**asked, **plan.identity})
    with Journal(plan.out) as journal:
        licences = warn_of_licences(console, origins, options.purpose)
        manifest.begin(
            purpose=options.purpose,
            origins=origins,
            licences=[{"source": licence.title, "terms": licence.terms} for licence in licences],
            inputs=[{"name": source.name, "sha256": source.digest()} for source in plan.sources],
        )
        ledger = Ledger(journal, total=plan.total, stop_after=options.stop_after)
        if ledger.done:
            console.print(f"{ledger.done} rows are done already", highlight=False)
        try:
            if all(ledger.is_done(task.id) for task in plan.tasks()):
                return 0
            with ProgressBar(ledger, console, plan.command):
                _run(plan, options, teacher, ledger)
        finally:
            _sum_up(ledger, console, plan.out)
            _close_books(manifest, ledger, console, plan.out)
    return 0


def _run(plan: Plan, options: argparse.Namespace, teacher: TeacherOptions, ledger: Ledger) -> None:
    if options.ray and plan.asks:
        try:
            from models.synthesis.pipeline.distributed import run_on_ray
        except ImportError as error:
            raise Stop(f"--ray needs the package ray[data]: {error}") from error
        run_on_ray(plan.tasks, plan.writer, teacher, ledger, workers=options.ray, tries=options.tries)
    else:
        asyncio.run(_run_here(plan, options, teacher, ledger))


async def _run_here(plan: Plan, options: argparse.Namespace, chosen: TeacherOptions, ledger: Ledger) -> None:
    teacher: Teacher = await open_teacher(chosen) if plan.asks else NoTeacher()
    try:
        do = partial(carry_out, writer=plan.writer, teacher=teacher, tries=options.tries)
        await run(plan.tasks, do, ledger, window=options.concurrency)
    finally:
        await teacher.close()


def _sum_up(ledger: Ledger, console: Console, out: Path) -> None:
    dropped = f", dropped {tell_counts(ledger.dropped)}" if ledger.dropped else ""
    again = f"; asked again for {tell_counts(ledger.retried)}" if ledger.retried else ""
    failed = f"; {len(ledger.failed)} failed, to be tried again" if ledger.failed else ""
    speed = f"; {ledger.tokens_per_s:.0f} tokens/s" if ledger.tokens else ""
    told = f"{out}: kept {ledger.kept} rows{dropped}{again}{failed}{speed}"
    console.print(told, markup=False, highlight=False, soft_wrap=True)


def _close_books(manifest: Manifest, ledger: Ledger, console: Console, out: Path) -> None:
    """Write report and manifest; where that fails, the run ends as it would have ended."""
    try:
        report = write_report(out, ledger)
        manifest.end(kept=ledger.kept, dropped=dict(ledger.dropped), retried=dict(ledger.retried))
        console.print(f"{report} has samples of what was dropped", markup=False, highlight=False, soft_wrap=True)
    except (OSError, Stop) as error:
        console.print(f"no report, no manifest: {error}", style="red", markup=False, highlight=False)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value
