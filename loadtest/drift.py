"""`python -m loadtest.drift`: fidelity by turn over long chats that our server keeps and remembers.

Starts a server of its own and runs `python -m models.evaluation drift --sessions` against it. Goes on where it was
killed; `--fresh` begins anew.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from loadtest.servers import launch_ours, running
from models.evaluation.__main__ import main as evaluate


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the benchmark; exits with 2 on bad ones."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.drift", description=__doc__)
    add = parser.add_argument
    add("--model", default="models/tiny", help="what the server serves")
    add("--max-model-len", type=int, default=4096, help="its context, in tokens")
    add("--conversations", type=int, default=10)
    add("--turns", type=int, default=100)
    add("--concurrency", type=int, default=10)
    add("--fidelity", type=int, help="the best of so many replies each turn")
    add("--out", type=Path, default=Path("build/drift"), help="a folder")
    add("--fresh", action="store_true", help="throw away what an earlier run has left there")
    return parser.parse_args(argv)


def build_command(arguments: argparse.Namespace, url: str) -> list[str]:
    """The evaluation as a user would type it."""
    command = ["drift", "--sessions", "--url", url, "--out", str(arguments.out / "drift.jsonl")]
    command += ["--limit", str(arguments.conversations), "--turns", str(arguments.turns)]
    command += ["--concurrency", str(arguments.concurrency)]
    return command + (["--fidelity", str(arguments.fidelity)] if arguments.fidelity else [])


def main() -> int:
    """The evaluation's own status: 0 when all conversations were held."""
    arguments = parse_arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.fresh:
        for path in arguments.out.glob("drift.*"):
            path.unlink()
    with tempfile.TemporaryDirectory(prefix="opencharacter-drift-") as data_dir:
        launch = launch_ours(arguments.model, data_dir=Path(data_dir), max_model_len=arguments.max_model_len)
        with running(launch, arguments.out / "server.log"):
            return evaluate(build_command(arguments, launch.url))


if __name__ == "__main__":
    sys.exit(main())
