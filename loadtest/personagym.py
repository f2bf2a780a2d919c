"""`python -m loadtest.personagym --data DIR`: PersonaGym-Light end to end, our server both the model and its judge.

The judge's verdicts are decoded under a schema, so that even the tiny model gives one that can be read: what is
measured is that no question is lost on the way, and how long a thousand take. Its scores say nothing of anybody.
Goes on where it was killed; `--fresh` begins anew. Exits with 1 where a question is lost.
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

from loadtest.machine import describe_machine
from loadtest.report import wide_console
from loadtest.servers import launch_ours, running
from models.evaluation.__main__ import main as evaluate

# The rubrics fill a third of it in the tiny model's tokens.
MAX_MODEL_LEN = 4096
EXAMPLE_CHARACTERS = 60


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the benchmark; exits with 2 on bad ones."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.personagym", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="PersonaGym's tree")
    add("--url", help="a server that runs (default: one of our own)")
    add("--model", default="models/tiny", help="what our own server serves")
    add("--served-as", default="tiny", help="what the model is called there")
    add("--personas", type=int, help="so many alone")
    add("--concurrency", type=int, default=64)
    add("--out", type=Path, default=Path("build/personagym"), help="a folder")
    add("--fresh", action="store_true", help="throw away what an earlier run has left there")
    return parser.parse_args(argv)


def build_command(arguments: argparse.Namespace, url: str) -> list[str]:
    """The evaluation as a user would type it."""
    command = ["personagym", "--light", "--mode", "strict", "--data", str(arguments.data), "--url", url]
    command += ["--model", arguments.served_as, "--out", str(arguments.out / "light.jsonl")]
    command += ["--concurrency", str(arguments.concurrency), "--example-characters", str(EXAMPLE_CHARACTERS)]
    return command + (["--limit", str(arguments.personas)] if arguments.personas else [])


def main() -> int:
    """0 when every question has a verdict."""
    arguments = parse_arguments()
    console = wide_console()
    machine = describe_machine()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.fresh:
        for path in (*arguments.out.glob("light.*"), *arguments.out.glob("examples/strict-*")):
            path.unlink()
    with ExitStack() as stack:
        url = arguments.url
        if url is None:
            data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opencharacter-personagym-")))
            launch = launch_ours(arguments.model, data_dir=data_dir, max_model_len=MAX_MODEL_LEN)
            stack.enter_context(running(launch, arguments.out / "server.log"))
            url = launch.url
        began = perf_counter()
        status = evaluate(build_command(arguments, url))
        wall_s = perf_counter() - began
    path = arguments.out / "light.scores.json"
    if not path.exists():
        return status
    scores = json.loads(path.read_text())
    lost = sum(scores["lost"].values())
    tokens = sum(cost["completion_tokens"] for cost in scores["cost"].values())
    figures = {"questions": scores["questions"], "lost": lost, "wall_s": wall_s, "completion_tokens": tokens}
    console.print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    console.print(f"{figures['questions']} questions, {lost} lost, {wall_s:.0f} s: {'FAIL' if lost else 'PASS'}")
    (arguments.out / "figures.json").write_text(json.dumps({"machine": machine, **figures}, indent=2) + "\n")
    return 1 if lost else status


if __name__ == "__main__":
    sys.exit(main())
