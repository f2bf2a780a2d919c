"""Rows that can be trained on, out of those that were written:
`python -m models.synthesis.filter build/dialogues.jsonl --out build/train.jsonl [--critic --model …]`.

Left out are breaks of character, leaked markup, what is too short or too long, replies full of the own name, loops, and
all but the first of rows whose replies are nearly the same; with `--critic` also what a model objects to. Counts and
samples of each reason stand in the report beside the output. The order of the input decides, so that a run that was
killed ends as one that wasn't.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from models.synthesis.checks import BadRow, Lengths, find_fault, read_subject
from models.synthesis.critic import Critic, NoCritic
from models.synthesis.duplicates import Duplicates
from models.synthesis.pipeline.command import Plan, build_parser, run_command
from models.synthesis.pipeline.origins import find_origins
from models.synthesis.pipeline.sources import Source, SourceRow
from models.synthesis.pipeline.task import Task
from models.synthesis.teachers.teacher import Stop

SIMILARITY = 0.8


class Sieve:
    """Rows in the order in which they come, and what speaks against each."""

    def __init__(self, lengths: Lengths, similarity: float) -> None:
        self._lengths = lengths
        self._duplicates = Duplicates(similarity) if similarity < 1 else None
        self._met: Counter[str] = Counter()

    def judge(self, row: SourceRow) -> Task:
        """The row as a task, with the fault that was found in it."""
        key = self._name(row)
        if row.fault:
            return Task(key, row.value, row.fault)
        try:
            subject = read_subject(row.value)
        except BadRow as error:
            return Task(key, row.value, str(error))
        if fault := find_fault(subject, self._lengths):
            reason, shown = fault
            return Task(key, {"found": shown}, reason)
        if self._duplicates and (earlier := self._duplicates.find(key, subject.said)):
            return Task(key, {"repeats": earlier, "said": subject.said}, "near_duplicate")
        return Task(key, row.value)

    def _name(self, row: SourceRow) -> str:
        """The row's own id, numbered where it was met before."""
        own = row.value.get("id")
        key = own if isinstance(own, str) and own else row.key
        self._met[key] += 1
        return key if self._met[key] == 1 else f"{key}#{self._met[key]}"


def build_plan(options: argparse.Namespace) -> Plan:
    """What the arguments ask for. Raises Stop."""
    if options.critic and not options.model:
        raise Stop("--critic needs the --model to ask")
    sources = [Source(str(path), options.limit) for path in options.rows]
    for source in sources:
        source.check()
    lengths = Lengths(options.shortest, options.longest, options.longest_dialogue)

    def tasks() -> Iterator[Task]:
        sieve = Sieve(lengths, options.similarity)
        return (sieve.judge(row) for source in sources for row in source.rows())

    identity = {
        "lengths": [lengths.shortest, lengths.longest, lengths.longest_dialogue],
        "similarity": options.similarity,
        "critic": options.critic,
    }
    return Plan(
        "filter",
        options.out,
        tasks,
        Critic(options.seed) if options.critic else NoCritic(),
        sum(source.count() or 0 for source in sources),
        identity,
        sources,
        tuple(name for source in sources for name in find_origins(source)),
        asks=options.critic,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(__doc__, teacher_needed=False)
    add = parser.add_argument
    add("rows", type=Path, nargs="+", help="JSONL of dialogues or profiles")
    add("--critic", action="store_true", help="have a model read what is left")
    add("--similarity", type=float, default=SIMILARITY, help="from this on rows are alike; 1 keeps all")
    add("--shortest", type=int, default=Lengths().shortest, help="characters of a reply")
    add("--longest", type=int, default=Lengths().longest, help="characters of a reply")
    add("--longest-dialogue", type=int, default=Lengths().longest_dialogue, help="characters of all that is said")
    return run_command(build_plan, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
