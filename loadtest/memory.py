"""`python -m loadtest.memory`: facts planted in a long chat, asked for after they have left the prompt.

The chat is written, so no model talks; what leaves the prompt is remembered and recalled by the server's own code, on
its own Redis, word for word without a model's notes. Found are the three memories that rank first; told is what fits
into the prompt of the turn that asks; current, of what was once otherwise, is what is told there as the last word. Once
with MiniLM, once by words alone. Exits with 1 where MiniLM finds fewer than the target.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import uvloop
from rich.table import Table

from app.sessions.memory import Memory
from app.sessions.message import Message, Speaker
from app.sessions.opening import open_session
from app.sessions.session import Session
from app.store.connection import connect
from app.store.embedded import embedded_redis
from app.store.memories import MemoryStore
from app.store.sessions import SessionStore
from characters.card import CharacterCard
from characters.library import load_library
from loadtest.heldout import HELD_OUT
from loadtest.machine import describe_machine
from loadtest.planted import PLANTED, Fact, draw_chat
from loadtest.report import wide_console
from loadtest.reworded import REWORDED
from loadtest.summary import Figures, spread
from models.embedding import Embedder, open_local_embedder
from models.renderer import Renderer, load_renderer
from models.scene import UserPersona

FACT_SETS = {"planted": PLANTED, "reworded": REWORDED, "held-out": HELD_OUT}
TARGET_RECALL = 0.9
MINILM, WORDS = "MiniLM", "words alone"
CONTEXT = 8192
# Messages that are in the prompt still, that leave it together, and seconds between two.
IN_PROMPT, LEAVING, EVERY_S = 60, 40, 90.0


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the benchmark; exits with 2 on bad ones."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.memory", description=__doc__)
    add = parser.add_argument
    add("--turns", type=int, default=300)
    add("--chats", type=int, default=3, help="the same facts among other talk, at other places")
    add("--facts", choices=FACT_SETS, default="planted", help="settings were chosen by the first two, never the last")
    add("--model", default="models/tiny", help="whose tokens memories are counted in")
    add("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args(argv)
    if arguments.turns < 3 * IN_PROMPT // 2:
        parser.error(f"--turns is {3 * IN_PROMPT // 2} or more: the facts must have left the prompt")
    return arguments


@dataclass(frozen=True)
class Shipped:
    """A character of the library's, as one that is stored."""

    card: CharacterCard
    id: str = "lyra"
    version: int = 1
    revision: str = "shipped"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question: the place of its fact, whether it was told, and whether as the last word."""

    question: str
    place: int | None
    told: bool
    current: bool | None
    recall_s: float


def figures_of(answers: Sequence[Answer], memories: int) -> Figures:
    """Shares of the questions; `current` of those for what was once otherwise."""
    updated = [answer.current for answer in answers if answer.current is not None]
    return {
        "recall@1": fmean([answer.place == 0 for answer in answers]),
        "recall@3": fmean([answer.place is not None for answer in answers]),
        "told": fmean([answer.told for answer in answers]),
        "current": fmean(updated) if updated else None,
        "questions": len(answers),
        "memories": memories,
        "recall_ms": spread([answer.recall_s for answer in answers]),
        "missed": sorted({answer.question for answer in answers if answer.place is None}),
    }


async def measure(arguments: argparse.Namespace, directory: Path) -> dict[str, Figures]:
    """The figures of each way to find memories."""
    renderer = load_renderer(arguments.model)
    planted = FACT_SETS[arguments.facts]
    embedder = await open_local_embedder()
    ways: dict[str, Embedder | None] = {MINILM: embedder, WORDS: None}
    answers: dict[str, list[Answer]] = {name: [] for name in ways}
    memories = 0
    async with embedded_redis(directory) as url, connect(url) as redis:
        for seed in range(arguments.chats):
            for name, way in ways.items():
                session = chat_session(renderer, draw_chat(arguments.turns, seed, planted))
                session = await SessionStore(redis, 30).create(session)
                memory = Memory(MemoryStore(redis), lambda text: len(renderer.encode(text)), CONTEXT, embedder=way)
                await _remember(memory, session)
                answers[name] += [await _ask(memory, session, fact) for fact in planted.facts]
                memories = len(await memory.all(session.id))
    await embedder.close()
    return {name: figures_of(given, memories) for name, given in answers.items()}


def chat_session(renderer: Renderer, chat: Sequence[tuple[str, str]]) -> Session:
    """A session in which the chat was had, a message every EVERY_S until now, of which IN_PROMPT are in the prompt."""
    past: list[tuple[Speaker, str]] = []
    for said, answer in chat:
        past += [("user", said), ("assistant", answer)]
    session = open_session(Shipped(load_library()["lyra"]), UserPersona("Sam"), renderer, greeting=None, past=past)
    branch = session.branch()
    began = time.time() - EVERY_S * len(branch)
    dated = {one.id: replace(one, created=began + EVERY_S * place) for place, one in enumerate(branch)}
    return replace(session, messages=dated, window=branch[-IN_PROMPT].id)


async def _remember(memory: Memory, session: Session) -> None:
    left = session.branch()[:-IN_PROMPT]
    for start in range(0, len(left), LEAVING):
        await memory.remember(session, left[start : start + LEAVING])


async def _ask(memory: Memory, session: Session, fact: Fact) -> Answer:
    found = [record.text for record, _ in await memory.search(session.id, fact.question, most=3)]
    branch = session.branch()
    began = perf_counter()
    lines = await memory.recall(session, [*branch, _question(fact.question, branch)], CONTEXT)
    took = perf_counter() - began
    told = _place(fact.told, lines)
    before = _place(fact.before, lines) if fact.before else None
    current = told is not None and (before is None or before < told)
    return Answer(fact.question, _place(fact.told, found), told is not None, current if fact.before else None, took)


def _place(told: str, found: Sequence[str]) -> int | None:
    return next((place for place, text in enumerate(found) if told in text), None)


def _question(text: str, branch: Sequence[Message]) -> Message:
    return Message("msg_question", branch[-1].id, "user", text, [])


def result_table(figures: dict[str, Figures], title: str) -> Table:
    """A row for each way."""
    table = Table(title=title, title_justify="left")
    columns = ("found by", "questions", "memories", "recall@1", "recall@3", "told in the prompt", "current")
    for column in (*columns, "recall p50, ms", "p99"):
        table.add_column(column, justify="left" if column == "found by" else "right")
    for name, row in figures.items():
        keys = ("recall@1", "recall@3", "told", "current")
        shares = ("-" if row[key] is None else f"{row[key]:.0%}" for key in keys)
        times = (f"{row['recall_ms'][key]:.1f}" for key in ("p50", "p99"))
        table.add_row(name, str(row["questions"]), str(row["memories"]), *shares, *times)
    return table


def main() -> int:
    """0 when MiniLM finds what it should."""
    arguments = parse_arguments()
    console = wide_console()
    machine: dict[str, Any] = describe_machine()
    with tempfile.TemporaryDirectory(prefix="opencharacter-memory-") as directory:
        figures = uvloop.run(measure(arguments, Path(directory)))
    count = len(FACT_SETS[arguments.facts].facts)
    title = f"{count} facts, {arguments.facts}, in a chat of {arguments.turns} turns, {arguments.chats} chats"
    console.print(result_table(figures, title))
    console.print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    recall: float = figures[MINILM]["recall@3"]
    passed = recall >= TARGET_RECALL
    console.print(f"recall@3 {recall:.0%}; target: at least {TARGET_RECALL:.0%}: {'PASS' if passed else 'FAIL'}")
    if arguments.json:
        report = {"machine": machine, "target": TARGET_RECALL, "facts": arguments.facts, "figures": figures}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
