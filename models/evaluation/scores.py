"""What the rows of a benchmark come to: read back, checked for losses, told and written down beside them."""

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from models.synthesis.pipeline.command import Plan, run_command
from models.synthesis.pipeline.journal import beside, read_lines
from models.synthesis.pipeline.progress import tell_counts
from models.synthesis.pipeline.task import Row
from models.synthesis.teachers.teacher import Stop

# Of all rows; a mean over what is left of more says something about something else.
MOST_LOST = 0.02

Show = Callable[[list[Row], Console], dict[str, Any]]


def conclude(build_plan: Callable[[argparse.Namespace], Plan], options: argparse.Namespace, show: Show) -> int:
    """Run what the arguments ask for, or what is left of it, then have `show` tell what it comes to.

    Returns 0 when all is done and told, 1 when it stopped or too much was lost, 130 when it was interrupted.
    """
    if status := run_command(build_plan, options):
        return status
    console = Console()
    try:
        rows = read_rows(options.out)
        scores = show(rows, console)
        path = write_scores(options.out, scores)
    except Stop as stop:
        console.print(f"no score: {stop}", style="red", markup=False, highlight=False)
        return 1
    console.print(f"written to {path}", markup=False, highlight=False, soft_wrap=True)
    return 0


def read_rows(out: Path) -> list[Row]:
    """The rows that are kept, in the order of their ids. Raises Stop where too many aren't, or none is."""
    rows = sorted(read_lines(out), key=lambda row: str(row["id"]))
    lost = Counter(str(row.get("reason")) for row in read_lines(beside(out, "dropped.jsonl")))
    if lost.total() > MOST_LOST * (len(rows) + lost.total()):
        told = f"{lost.total()} of {len(rows) + lost.total()} rows are lost ({tell_counts(lost)})"
        raise Stop(f"{told}, and more than {MOST_LOST:.0%} would make any score one of something else")
    if not rows:
        raise Stop(f"{out} has no rows")
    return rows


def write_scores(out: Path, scores: dict[str, Any]) -> Path:
    """The file beside `out` that holds its scores. Raises Stop when it can't be written."""
    path = beside(out, "scores.json")
    try:
        path.write_bytes(orjson.dumps(scores, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS))
    except OSError as error:
        raise Stop(f"{path} can't be written: {error.strerror}") from error
    return path
