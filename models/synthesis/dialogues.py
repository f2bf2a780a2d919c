"""Dialogues with characters, one JSON object a line, by the hundred thousand:
`python -m models.synthesis.dialogues build/profiles.jsonl --instructions alpaca_data.json --strategy G --model …`.

Each instruction is put to characters that are drawn at random. With G a character answers turn by turn; with R a
dialogue that there is already is rewritten in the character's way. Instructions are Alpaca's, LIMA's, PH-Instruct's,
ShareGPT's or OpenAI's rows, or any JSONL by the names of its fields. A row is `{id, card, user, messages, …}`.
Stopped or killed, the same command goes on where it was.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from rich.console import Console

from models.synthesis.generation import Generation
from models.synthesis.instructions import BadInstruction, Fields, read_conversation
from models.synthesis.pipeline.command import Plan, build_parser, run_command
from models.synthesis.pipeline.manifest import read_origins
from models.synthesis.pipeline.origins import find_origins
from models.synthesis.pipeline.progress import tell_counts
from models.synthesis.pipeline.sources import Source, SourceRow
from models.synthesis.pipeline.task import Task
from models.synthesis.playing import Casting, load_casting
from models.synthesis.rewriting import Rewriting
from models.synthesis.teachers.teacher import Stop

HUB_CONFIGS = {"proj-persona/PersonaHub": "instruction"}


def build_tasks(row: SourceRow, source: str, casting: Casting, fields: Fields, *, count: int, seed: int) -> list[Task]:
    """A task for each of `count` characters, or one with the fault of the row."""
    key = f"{source}:{row.key}"
    if row.fault:
        return [Task(key, row.value, row.fault)]
    try:
        lines = read_conversation(row.value, fields)
    except BadInstruction as error:
        return [Task(key, row.value, str(error))]
    said = [(line.role, line.text) for line in lines]
    drawn = casting.draw(Random(f"{seed}/{key}"), count)
    return [Task(f"{key}/{one}", {"lines": said, "character": one, "source": source}) for one in drawn]


def build_plan(options: argparse.Namespace) -> Plan:
    """What the arguments ask for. Raises Stop."""
    if not options.profiles.is_file():
        raise Stop(f"{options.profiles}: there is no such file")
    sources = _sources(options.instructions, options.limit)
    casting, faults = load_casting(options.profiles, options.persona_only)
    if faults:
        told = f"{options.profiles}: left out {tell_counts(Counter(faults))}"
        Console(stderr=True).print(told, style="yellow", markup=False, highlight=False)
    fields = Fields(options.prompt_field, options.response_field)

    def tasks() -> Iterator[Task]:
        for title, source in sources.items():
            for row in source.rows():
                yield from build_tasks(row, title, casting, fields, count=options.characters, seed=options.seed)

    chosen = (casting, options.temperature, options.seed)
    writer = Generation(*chosen, options.reply_tokens) if options.strategy == "G" else Rewriting(*chosen)
    counts = [source.count() for source in sources.values()]
    each = min(options.characters, len(casting.rows))
    total = None if None in counts else each * sum(count or 0 for count in counts)
    identity = {
        "strategy": options.strategy,
        "characters": options.characters,
        "persona_only": options.persona_only,
        "reply_tokens": options.reply_tokens,
        "casting": casting.digest(),
        "fields": [fields.prompt, fields.response],
    }
    origins = (*read_origins(options.profiles), *(name for source in sources.values() for name in find_origins(source)))
    return Plan("dialogues", options.out, tasks, writer, total, identity, list(sources.values()), origins)


def _sources(names: Sequence[str], limit: int | None) -> dict[str, Source]:
    """The sources by their titles, of which no two are alike."""
    found: dict[str, Source] = {}
    for name in names:
        source = Source(name, limit, HUB_CONFIGS.get(name))
        source.check()
        title = source.title
        while title in found:
            title += "'"
        found[title] = source
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(__doc__)
    add = parser.add_argument
    add("profiles", type=Path, help="characters: rows with a `profile` or a `card`")
    add("--instructions", action="append", required=True, help="JSONL, a JSON list or a dataset id; repeatable")
    add("--strategy", choices=("G", "R"), default="G", help="generate, or rewrite what is answered already")
    add("--characters", type=int, default=3, help="drawn for each instruction")
    add("--persona-only", type=float, default=0.15, help="the share of dialogues that show no profile")
    add("--reply-tokens", type=int, default=1024, help="the longest reply")
    add("--prompt-field", help="of other JSONL: what the user says")
    add("--response-field", help="of other JSONL: what is answered")
    return run_command(build_plan, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
