"""The data that was released with OpenCharacter (`xywang1/OpenCharacter`) as rows to train on:
`python -m models.synthesis.released synthetic_character.jsonl synthetic_dialogue.jsonl --out build/released.jsonl`.

Its characters are `{character_id, persona, character}`, the last one a profile as text; its dialogues have `question`
and `character_answer`, each a text or a list of turns, and name the character by its id or tell it in full.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from characters.card import build_card
from characters.profile import LABELS, MAX_LINE, MAX_NAME, Profile, one_line

from models.synthesis.instructions import BadInstruction, read_conversation
from models.synthesis.pipeline.command import Plan, build_parser, run_command
from models.synthesis.pipeline.sources import Source, SourceRow
from models.synthesis.pipeline.task import Asking, Dropped, Row, Task
from models.synthesis.playing import build_row
from models.synthesis.teachers.teacher import Line, Stop

ORIGIN = "xywang1/OpenCharacter"
_FIELDS = {label.casefold(): field for field, label in LABELS.items()}


@dataclass(frozen=True, slots=True)
class ReleasedWriter:
    """Turns released rows into ours. `characters` are persona and profile text by id."""

    characters: Mapping[str, tuple[str, str]]

    async def write(self, task: Task, asking: Asking) -> Row:  # noqa: ARG002  # nobody is asked
        row = task.content
        try:
            lines = read_conversation(row)
        except BadInstruction as error:
            raise Dropped(str(error)) from error
        if lines[-1].role == "user":
            raise Dropped("no_reply", lines[-1].text)
        persona, text = self._character(row)
        profile = parse_profile_text(text)
        if not profile.name:
            raise Dropped("no_name", text)
        told = {"character": str(row.get("character_id", "")), "source": str(row.get("question_source", ORIGIN))}
        try:
            card = build_card(profile, persona)
        except ValueError as error:
            raise Dropped("no_character", str(error)) from error
        return build_row(Task(task.id, told), card, _cleaned(lines), "G")

    def _character(self, row: Mapping[str, Any]) -> tuple[str, str]:
        persona, text = row.get("persona"), row.get("character", row.get("character_profile"))
        if isinstance(text, str):
            return (one_line(persona) if isinstance(persona, str) else ""), text
        known = self.characters.get(str(row.get("character_id")))
        if known is None:
            raise Dropped("unknown_character", str(row.get("character_id")))
        return known


def parse_profile_text(text: str) -> Profile:
    """The profile in labelled lines. A line without a label goes on with the one before; other labels are kept as text.

    What stands under labels that a profile doesn't have follows the general experience, with its label.
    """
    values: dict[str, str] = {}
    field = ""
    for line in filter(None, map(one_line, text.replace("*", "").splitlines())):
        label, colon, value = line.partition(":")
        known = _FIELDS.get(label.strip(" -#").casefold()) if colon else None
        if known:
            field, line = known, value.strip()
        elif colon and len(label) <= MAX_NAME // 2:
            field = "general_experience"
        if field:
            values[field] = f"{values.get(field, '')} {line}".strip()
    return Profile(**{name: value[:MAX_LINE] for name, value in values.items()})


def load_characters(path: Path) -> dict[str, tuple[str, str]]:
    """Persona and profile text by id. Raises Stop when there are none."""
    found: dict[str, tuple[str, str]] = {}
    for row in Source(str(path)).rows():
        value = row.value
        if "character_id" in value and isinstance(value.get("character"), str):
            persona = value.get("persona")
            found[str(value["character_id"])] = (
                one_line(persona) if isinstance(persona, str) else "",
                value["character"],
            )
    if not found:
        raise Stop(f"{path} holds no characters: rows with `character_id` and `character`")
    return found


def build_plan(options: argparse.Namespace) -> Plan:
    """What the arguments ask for. Raises Stop."""
    sources = [Source(str(options.characters)), Source(str(options.dialogues), options.limit)]
    for source in sources:
        source.check()

    def tasks() -> Iterator[Task]:
        return (_task(row) for row in sources[1].rows())

    writer = ReleasedWriter(load_characters(options.characters))
    return Plan("released", options.out, tasks, writer, sources[1].count(), {}, sources, (ORIGIN,), asks=False)


def _task(row: SourceRow) -> Task:
    return Task(row.key, row.value, row.fault)


def _cleaned(lines: Sequence[Line]) -> list[Line]:
    return [Line(line.role, line.text.strip()) for line in lines]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(__doc__, teacher_needed=False)
    parser.add_argument("characters", type=Path, help="synthetic_character.jsonl")
    parser.add_argument("dialogues", type=Path, help="synthetic_dialogue.jsonl")
    return run_command(build_plan, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
