"""`python -m loadtest.synthesis`: rows through our pipeline beside vLLM's own offline `LLM.generate`, same prompts.

Ours is all that the command does but for loading the model: drawing, rendering, asking, parsing, and each row on the
disk. vLLM gets its prompts as ids and its whole list at once. Each side has its model in a process of its own; both are
loaded all the time and only one works, in turn (A B, B A, …), on other prompts each round. Sampling, its seeds and the
engine's options are the same. Exits with 1 where the target isn't met.
"""

import argparse
import json
import multiprocessing
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from loadtest.machine import describe_machine
from loadtest.report import wide_console
from loadtest.teaching import Round, Work, serve_ours, serve_theirs

TARGET = 0.9
OURS, THEIRS = "our pipeline", "LLM.generate"


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the benchmark; exits with 2 on bad ones."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.synthesis", description=__doc__)
    add = parser.add_argument
    add("--model", default="models/tiny")
    add("--max-model-len", type=int, default=2048)
    add("--rows", type=int, default=1000, help="a round")
    add("--rounds", type=int, default=4)
    add("--max-tokens", type=int, default=128)
    add("--concurrency", type=int, default=256, help="replies that are written at a time, on both sides")
    add("--json", type=Path, help="write all rounds here")
    arguments = parser.parse_args(argv)
    if min(arguments.rows, arguments.rounds, arguments.max_tokens, arguments.concurrency) < 1:
        parser.error("--rows, --rounds, --max-tokens and --concurrency are at least 1")
    return arguments


def measure(work: Work, rounds: int, console: Console) -> dict[str, list[Round]]:
    """Rounds of both sides, in turn, after one each that isn't counted."""
    context = multiprocessing.get_context("spawn")
    results: dict[str, list[Round]] = {OURS: [], THEIRS: []}
    with ExitStack() as stack:
        pipes = {}
        for name, serve in ((OURS, serve_ours), (THEIRS, serve_theirs)):
            pipes[name], end = context.Pipe()
            process = context.Process(target=serve, args=(work, end))
            process.start()
            end.close()
            stack.callback(process.join)
            stack.callback(pipes[name].send, None)
            console.print(f"{name} is loading")
            pipes[name].recv()
        for number, name in _order(rounds):
            pipes[name].send(number)
            done: Round = pipes[name].recv()
            if number:
                results[name].append(done)
                console.print(f"round {number}, {name}: {done.tokens_per_s:.0f} tokens/s, {done.wall_s:.1f} s")
    return results


def _order(rounds: int) -> Iterator[tuple[int, str]]:
    for number in range(rounds + 1):
        yield from ((number, name) for name in ((OURS, THEIRS) if number % 2 else (THEIRS, OURS)))


def result_table(results: dict[str, list[Round]], title: str) -> Table:
    """A row for each side."""
    table = Table(title=title, title_justify="left")
    for column in ("", "rows/s", "tokens/s", "spread", "tokens a row"):
        table.add_column(column, justify="right" if column else "left")
    for name, rounds in results.items():
        speeds = [one.tokens_per_s for one in rounds]
        rows = sum(one.rows for one in rounds)
        table.add_row(
            name,
            f"{median(one.rows / one.wall_s for one in rounds):.1f}",
            f"{median(speeds):.0f}",
            f"{min(speeds):.0f} to {max(speeds):.0f}",
            f"{sum(one.tokens for one in rounds) / rows:.1f}",
        )
    return table


def share(results: dict[str, list[Round]]) -> float:
    """Our tokens a second by vLLM's: the median of the rounds, each with its neighbour."""
    pairs = zip(results[OURS], results[THEIRS], strict=True)
    return median(ours.tokens_per_s / theirs.tokens_per_s for ours, theirs in pairs)


def main() -> int:
    """0 when the target is met."""
    arguments = parse_arguments()
    console, machine = wide_console(), describe_machine()
    work = Work(arguments.model, arguments.max_model_len, arguments.rows, arguments.max_tokens, arguments.concurrency)
    results = measure(work, arguments.rounds, console)
    title = f"{work.rows} rows a round, {work.concurrency} at a time, median of {arguments.rounds} rounds"
    console.print(result_table(results, title))
    console.print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    reached = share(results)
    passed = reached >= TARGET
    console.print(f"{reached:.0%} of vLLM's own; target: at least {TARGET:.0%}: {'PASS' if passed else 'FAIL'}")
    if arguments.json:
        rounds = {name: [asdict(one) for one in of_side] for name, of_side in results.items()}
        report = {"machine": machine, "work": asdict(work), "target": TARGET, "share": reached, "rounds": rounds}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
