"""Does a character drift? `python -m models.evaluation drift --url … --model … --out build/drift.jsonl`.

Conversations of a hundred turns with characters that no model has met. Four turns in ten ask for what the card says,
one tells something of the user and others ask for it back; each reply is held against card and voice. With `--sessions`
the server behind `--url` keeps the history and remembers; without it the transcript is sent, as long as it fits.
Written beside the rows: shares for each ten turns as JSON, and a plot of them.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import hypot
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from models.evaluation.drift_players import REPLY_TOKENS, SessionPlayer, TranscriptPlayer
from models.evaluation.episodes import Episode, build_long_episodes
from models.evaluation.marks import contains_phrase, recalls
from models.evaluation.proportion import Proportion, proportion
from models.evaluation.scores import conclude
from models.synthesis.pipeline.command import Plan, build_parser, build_teacher_options
from models.synthesis.pipeline.journal import beside
from models.synthesis.pipeline.task import Row, Task, Writer
from models.synthesis.teachers.teacher import Stop
from models.synthesis.voices import load_voices

CONVERSATIONS, TURNS, MOST_TURNS = 10, 100, 1000
# Turns that are counted together, and the share of a conversation that is its beginning, or its end.
STEP, ENDS = 10, 0.2
MEASURES = {"card": "what the card says", "user": "what the user said", "voice": "the card's voice"}

# Of a measure, the turns that bear on it with whether each was right.
Marks = dict[str, list[tuple[int, bool]]]


def mark_replies(episode: Episode, replies: Sequence[str]) -> Marks:
    """Each reply held against what it was asked for, by measure; turns are numbered from 1."""
    character = episode.character
    voice = load_voices()[character.voice]
    marks: Marks = defaultdict(list)
    for turn, (question, reply) in enumerate(zip(episode.questions, replies, strict=True), 1):
        quoted = character.values[question.about].spoken if question.kind == "field" else question.wanted
        marks["voice"].append((turn, voice.is_heard_in(reply, quoted)))
        if question.kind == "field":
            marks["card"].append((turn, recalls(question.about, character.values[question.about], reply)))
        elif question.kind == "recall":
            marks["user"].append((turn, contains_phrase(reply, question.wanted)))
    return marks


def score_drift(marks: Marks, turns: int) -> dict[str, Any]:
    """For each measure its share by step, at the beginning and at the end, and how much it has changed."""
    scores: dict[str, Any] = {}
    for measure in MEASURES:
        steps = [
            proportion([right for turn, right in marks[measure] if first < turn <= first + STEP])
            for first in range(0, turns, STEP)
        ]
        edge = max(1, int(turns * ENDS))
        begin = proportion([right for turn, right in marks[measure] if turn <= edge])
        end = proportion([right for turn, right in marks[measure] if turn > turns - edge])
        change, interval = compare(begin, end)
        scores[measure] = {
            "steps": [step.to_json() for step in steps],
            "begin": begin.to_json(),
            "end": end.to_json(),
            "told": (str(begin), str(end)),
            "change": change,
            "interval": interval,
        }
    return scores


def compare(begin: Proportion, end: Proportion) -> tuple[float, tuple[float, float]]:
    """How much more the end has, with Newcombe's 95 % interval."""
    change = end.share - begin.share
    (low, high), (end_low, end_high) = begin.interval, end.interval
    fall = hypot(end.share - end_low, high - begin.share)
    rise = hypot(end_high - end.share, begin.share - low)
    return change, (max(-1.0, change - fall), min(1.0, change + rise))


def tell_drift(change: float, interval: tuple[float, float]) -> str:
    """In words: it drifts where the interval is wholly below nothing; where nothing is in it, nobody knows."""
    low, high = interval
    verdict = "drifts" if high < 0 else "gains" if low > 0 else "may be chance"
    return f"{verdict} ({change:+.1%} [{low:+.1%}, {high:+.1%}])"


def plot_drift(scores: dict[str, Any], turns: int, path: Path) -> None:
    """Draw the shares by turn, with their intervals, as an SVG."""
    from matplotlib.figure import Figure  # no part of serving

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.add_subplot()
    middles = [min(first + STEP / 2, turns) for first in range(0, turns, STEP)]
    for measure, title in MEASURES.items():
        steps = [(at, step) for at, step in zip(middles, scores[measure]["steps"], strict=True) if step["of"]]
        if steps:
            places = [at for at, _ in steps]
            axes.plot(places, [step["share"] for _, step in steps], marker="o", label=title)
            low, high = ([step["interval"][side] for _, step in steps] for side in (0, 1))
            axes.fill_between(places, low, high, alpha=0.15)
    axes.set(xlabel="turn", ylabel="share of replies", ylim=(0, 1.02), xlim=(0, turns))
    axes.legend(loc="lower left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def build_plan(options: argparse.Namespace) -> Plan:
    """What the arguments ask for. Raises Stop."""
    count = options.limit or CONVERSATIONS
    episodes = build_long_episodes(count, options.seed, options.turns)

    def tasks() -> Iterator[Task]:
        return (Task(f"conversation {number:04}", {"number": number}) for number in range(count))

    identity = {"turns": options.turns, "sessions": options.sessions, "fidelity": options.fidelity}
    writer = _build_player(options, episodes)
    return Plan("drift", options.out, tasks, writer, count, identity, asks=not options.sessions)


def _build_player(options: argparse.Namespace, episodes: Sequence[Episode]) -> Writer:
    if not options.sessions:
        if options.fidelity:
            raise Stop("--fidelity is a session's: add --sessions")
        if not options.model:
            raise Stop("name a --model, or let the server keep the history with --sessions")
        return TranscriptPlayer(episodes, options.temperature, options.seed)
    if not options.url:
        raise Stop("--sessions needs the server's --url")
    body = {"temperature": options.temperature, "max_tokens": REPLY_TOKENS}
    if options.fidelity:
        body |= {"fidelity": {"n": options.fidelity}}
    key = build_teacher_options(options).api_key
    return SessionPlayer(
        episodes, options.url.rstrip("/").removesuffix("/v1"), key, options.timeout_s, body, options.seed
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(__doc__, teacher_needed=False)
    parser.add_argument("--turns", type=int, choices=range(STEP, MOST_TURNS + 1), metavar=f"{STEP}…", default=TURNS)
    parser.add_argument("--sessions", action="store_true", help="let the server behind --url keep the history")
    parser.add_argument("--fidelity", type=int, metavar="N", help="the best of so many replies each turn")
    parser.set_defaults(temperature=0.7)
    options = parser.parse_args(arguments)

    def show_drift(rows: list[Row], console: Console) -> dict[str, Any]:
        numbers = [int(row["id"].split()[-1]) for row in rows]
        episodes = build_long_episodes(max(numbers) + 1, options.seed, options.turns)
        marks: Marks = defaultdict(list)
        for number, row in zip(numbers, rows, strict=True):
            for measure, found in mark_replies(episodes[number], row["replies"]).items():
                marks[measure] += found
        scores = score_drift(marks, options.turns)
        edge = max(1, int(options.turns * ENDS))
        table = Table("measure", f"first {edge} turns", f"last {edge}", "")
        for measure, title in MEASURES.items():
            one = scores[measure]
            table.add_row(title, *one["told"], tell_drift(one["change"], one["interval"]))
        console.print(table)
        _plot(scores, options, console)
        return scores

    return conclude(build_plan, options, show_drift)


def _plot(scores: dict[str, Any], options: argparse.Namespace, console: Console) -> None:
    path = beside(options.out, "svg")
    try:
        plot_drift(scores, options.turns, path)
    except ImportError:
        console.print("no plot without matplotlib")
    except OSError as error:
        raise Stop(f"{path} can't be written: {error.strerror}") from error


if __name__ == "__main__":
    sys.exit(main())
