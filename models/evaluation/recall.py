"""Does a model read its card? `python -m models.evaluation.recall models/tiny --json build/recall.json`.

Two hundred characters it has never met, with names of syllables it has never seen, are asked seventeen things each,
through the engine that serves. Measured at temperature 0 and at the serving default: whether the card's answers come
back, whether the voice is the card's, whether what the user said is remembered after two other exchanges, whether
profiles written from a persona are valid, and that no markup shows.
"""

import argparse
import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from models.engine import Engine
from models.evaluation.episodes import build_episodes, build_personas
from models.evaluation.marks import contains_phrase, leaks_markup, recalls, share
from models.evaluation.play import Reply, play_episodes, write_profiles
from models.synthesis.profile_prompt import parse_profile
from models.synthesis.voices import load_voices

SERVING_TEMPERATURE = 0.7
TARGETS = {
    "profile_recall": 0.95,
    "style_adherence": 0.90,
    "user_recall": 0.80,
    "valid_profiles": 1.0,
    "markup_leaks": 0.0,
    "unfinished": 0.0,
}


@dataclass(frozen=True, slots=True)
class Report:
    """Shares from 0 to 1, but `markup_leaks` and `unfinished`, which count replies."""

    temperature: float
    replies: int
    profile_recall: float
    style_adherence: float
    style_by_chance: float
    """How often a reply bears the marks of the next voice in the alphabet instead: what the measure is worth."""
    user_recall: float
    valid_profiles: float
    markup_leaks: int
    unfinished: int
    by_field: dict[str, float]
    by_voice: dict[str, float]
    misses: list[dict[str, str]] = field(default_factory=list)


def judge(replies: Sequence[Reply], profiles: Sequence[str], temperature: float) -> Report:
    """The report on what was said and written."""
    recalled: dict[str, list[bool]] = defaultdict(list)
    voiced: dict[str, list[bool]] = defaultdict(list)
    remembered, chance, misses = [], [], []
    names = sorted(load_voices())
    for reply in replies:
        character, question = reply.episode.character, reply.question
        quoted = character.values[question.about].spoken if question.kind == "field" else question.wanted
        voiced[character.voice].append(load_voices()[character.voice].is_heard_in(reply.text, quoted))
        other = load_voices()[names[(names.index(character.voice) + 1) % len(names)]]
        if other.marks:
            chance.append(other.is_heard_in(reply.text, quoted))
        if question.kind == "field":
            recalled[question.about].append(recalls(question.about, character.values[question.about], reply.text))
        elif question.kind == "recall":
            remembered.append(contains_phrase(reply.text, question.wanted))
        if (question.kind == "field" and not recalled[question.about][-1]) or (
            question.kind == "recall" and not remembered[-1]
        ):
            misses.append({"asked": question.text, "wanted": quoted, "said": reply.text})
    return Report(
        temperature=temperature,
        replies=len(replies),
        profile_recall=share([verdict for verdicts in recalled.values() for verdict in verdicts]),
        style_adherence=share([verdict for verdicts in voiced.values() for verdict in verdicts]),
        style_by_chance=share(chance),
        user_recall=share(remembered),
        valid_profiles=share([is_valid_profile(text) for text in profiles]),
        markup_leaks=sum(leaks_markup(reply.text) for reply in replies),
        unfinished=sum(not reply.finished for reply in replies),
        by_field={name: share(verdicts) for name, verdicts in sorted(recalled.items())},
        by_voice={name: share(verdicts) for name, verdicts in sorted(voiced.items())},
        misses=misses,
    )


def is_valid_profile(text: str) -> bool:
    """Whether `text` is a profile with every field said."""
    try:
        parse_profile(text)
    except ValueError:
        return False
    return True


async def evaluate(engine: Engine, count: int, seed: int, temperature: float) -> Report:
    """Play, write and judge at one temperature."""
    replies = await play_episodes(engine, build_episodes(count, seed), temperature)
    profiles = await write_profiles(engine, build_personas(count, seed), temperature)
    return judge(replies, profiles, temperature)


def print_reports(reports: Sequence[Report], console: Console) -> None:
    """A table of the measures, a column for each temperature, and the breakdown of the first."""
    table = Table("measure", "target", *(f"temperature {report.temperature:g}" for report in reports))
    for name, target in TARGETS.items():
        values = [getattr(report, name) for report in reports]
        counted = isinstance(values[0], int)
        table.add_row(
            name.replace("_", " "),
            "0" if counted else f"≥ {target:.0%}",
            *(str(value) if counted else f"{value:.1%}" for value in values),
        )
    table.add_row("marks of another voice", "", *(f"{report.style_by_chance:.1%}" for report in reports))
    table.add_row("replies", "", *(str(report.replies) for report in reports))
    console.print(table)
    for title, shares in (("recall by field", reports[0].by_field), ("style by voice", reports[0].by_voice)):
        console.print(f"{title}: " + ", ".join(f"{name} {value:.0%}" for name, value in shares.items()))


async def measure(
    model: str, count: int, seed: int, max_model_len: int | None, temperatures: Sequence[float]
) -> list[Report]:
    """Open the engine, measure at each temperature, close it."""
    from models.vllm_engine.opening import open_vllm_engine  # starts a process of its own: only when measuring

    options: dict[str, Any] = (
        {} if max_model_len is None else {"max_model_len": max_model_len}
    )  # fields of EngineOptions
    engine = await open_vllm_engine(model, **options)
    try:
        return [await evaluate(engine, count, seed, temperature) for temperature in temperatures]
    finally:
        await engine.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a model folder or Hugging Face id")
    parser.add_argument("--characters", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-model-len", type=int, default=None)
    parser.add_argument(
        "--temperature", type=float, action="append", help=f"again for each; default 0 and {SERVING_TEMPERATURE}"
    )
    parser.add_argument("--json", type=Path, help="write the reports there")
    options = parser.parse_args(arguments)
    temperatures = options.temperature or [0.0, SERVING_TEMPERATURE]
    reports = asyncio.run(measure(options.model, options.characters, options.seed, options.max_model_len, temperatures))
    print_reports(reports, Console())
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(orjson.dumps([asdict(report) for report in reports], option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
