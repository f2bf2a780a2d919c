"""Running the commands of synthesis: in this process, and in one that can be killed."""

import json
import multiprocessing
import resource
import sys
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from models.synthesis import dialogues, profiles, released
from models.synthesis import filter as filtering

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "profiles": profiles.main,
    "dialogues": dialogues.main,
    "filter": filtering.main,
    "released": released.main,
}
# Children of a process that has all modules loaded start at once.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.synthesis_runs"])

Rows = list[dict[str, Any]]


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    """JSONL of `rows`; a text is a line as it is."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read_rows(path: Path) -> Rows:
    with path.open() as file:
        return [json.loads(line) for line in file]


def dropped(out: Path) -> dict[str, str]:
    """The reasons for what an output left out, by row."""
    return {row["id"]: row["reason"] for row in read_rows(out.with_suffix(".dropped.jsonl"))}


def manifest(out: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(out.with_suffix(".manifest.json").read_text())
    return told


def asks(url: str, *more: str) -> list[str]:
    """The arguments that name a fake teacher, quick to give up."""
    return ["--url", url, "--model", "fake", "--attempts", "2", "--concurrency", "16", *more]


def start(command: str, arguments: Sequence[str], log: Path, most_bytes: int | None = None) -> BaseProcess:
    """A command in a process of its own that tells its story to `log`; no file of it grows beyond `most_bytes`."""
    process = FORKS.Process(target=_main, args=(command, list(arguments), log, most_bytes))
    process.start()
    return process


def _main(command: str, arguments: list[str], log: Path, most_bytes: int | None) -> None:
    sys.stderr = log.open("a")
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    raise SystemExit(COMMANDS[command](arguments))
