"""Profiles for personas, one JSON object a line, by the hundred thousand:
`python -m models.synthesis.profiles personas.jsonl --model models/tiny --out build/profiles.jsonl`.

Personas come from JSONL, a JSON list or a dataset of the Hugging Face hub (`proj-persona/PersonaHub`, or in full
`owner/name:config@split`). A row is `{id, persona, profile, source}`, its profile decoded under the schema by which the
server has characters written. Stopped or killed, the same command goes on where it was.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from characters.profile import LABELS, SYNTHESIS_LENGTHS

from models.synthesis.form import ProfileTooLong, fit_form
from models.synthesis.pipeline.command import Plan, build_parser, run_command
from models.synthesis.pipeline.origins import find_origins
from models.synthesis.pipeline.sources import Source, SourceRow
from models.synthesis.pipeline.task import Asking, BadAnswer, Dropped, Row, Task
from models.synthesis.profile_prompt import SYSTEM, parse_profile
from models.synthesis.teachers.teacher import Answer, Line, Question

# A longer one is no persona: those of Persona Hub have a hundred characters.
MOST_PERSONA = 2000
FIELDS = ("persona", "input persona")
HUB_CONFIGS = {"proj-persona/PersonaHub": "persona"}

Prompt = Literal["explained", "served"]
EXPLANATION = (
    "Every field is one line in the language of the persona, without quotation marks, and none is empty. "
    "The fields, in this order, with the characters that each has at most: "
    + ", ".join(f"{field} ({LABELS[field]}, {length})" for field, length in SYNTHESIS_LENGTHS.items())
    + ". Be particular: names, places and habits that nobody else has, and a way to speak that can be heard."
)


@dataclass(frozen=True, slots=True)
class ProfileWriter:
    """Has profiles written. A model that was trained here knows the `served` prompt; others want it `explained`."""

    temperature: float
    seed: int
    prompt: Prompt = "explained"

    async def write(self, task: Task, asking: Asking) -> Row:
        persona = " ".join(task.content["persona"].split())
        system = SYSTEM if self.prompt == "served" else f"{SYSTEM} {EXPLANATION}"
        messages = [Line("system", system), Line("user", persona)]
        teacher = asking.teacher
        try:
            form = fit_form({}, teacher.count(messages), teacher.max_model_len)
        except ProfileTooLong as error:
            raise Dropped("no_room", str(error)) from error
        seed = task.seed(self.seed)
        question = Question(messages, form.longest_tokens, self.temperature, seed, form.json_schema())
        profile = await asking.ask(question, read_profile)
        return {"persona": persona, "profile": profile, "source": task.content["source"]}


def read_profile(answer: Answer) -> Row:
    """The profile in an answer, as long as the schema allows. Raises BadAnswer."""
    if answer.is_cut:
        raise BadAnswer("cut_off", answer.text)
    try:
        profile = parse_profile(answer.text).model_dump(include=set(SYNTHESIS_LENGTHS))
    except ValueError as error:
        raise BadAnswer("no_profile", answer.text) from error
    if any(len(profile[field]) > length for field, length in SYNTHESIS_LENGTHS.items()):
        raise BadAnswer("profile_too_long", answer.text)
    return profile


def read_persona(row: SourceRow, field: str | None, source: str) -> Task:
    """The task that a row asks for, or why it asks for none."""
    if row.fault:
        return Task(row.key, row.value, row.fault)
    persona = row.value.get(field) if field else next((row.value[name] for name in FIELDS if name in row.value), None)
    if not isinstance(persona, str) or not persona.strip():
        return Task(row.key, row.value, "no_persona")
    fault = "persona_too_long" if len(persona) > MOST_PERSONA else ""
    return Task(row.key, {"persona": persona, "source": source}, fault)


def build_plan(options: argparse.Namespace) -> Plan:
    """What the arguments ask for. Raises Stop."""
    source = Source(options.personas, options.limit, HUB_CONFIGS.get(options.personas))
    source.check()

    def tasks() -> Iterator[Task]:
        return (read_persona(row, options.field, source.title) for row in source.rows())

    origins = tuple(find_origins(source))
    writer = ProfileWriter(options.temperature, options.seed, options.prompt)
    identity = {"field": options.field, "prompt": options.prompt}
    return Plan("profiles", options.out, tasks, writer, source.count(), identity, [source], origins)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(__doc__)
    parser.add_argument("personas", help="JSONL, a JSON list, or a dataset id")
    parser.add_argument("--field", help=f"which field is the persona (default: {' or '.join(FIELDS)})")
    parser.add_argument(
        "--prompt", choices=("explained", "served"), default="explained", help="`served`: as the server asks"
    )
    return run_command(build_plan, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
