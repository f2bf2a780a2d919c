"""`python -m loadtest.imports`: a chat's gaps between frames, with and without an import of a thousand PNG cards.

One closed-loop chat streams all the time. In each of several rounds it is timed alone, then while a share of the cards
is imported, one after another, so that a machine that drifts does so under both. Exits with 1 where the p99 of all gaps
grows by more than the target.
"""

import argparse
import asyncio
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import httpx
import uvloop
from PIL import Image
from rich.table import Table

from characters.formats.cardfile import CardFile
from characters.formats.gallery import Gallery
from characters.formats.writing import write_card
from characters.library import load_library
from loadtest.chats import Sampling, SessionChat
from loadtest.machine import describe_machine, run_first
from loadtest.report import wide_console
from loadtest.sample import TurnSample
from loadtest.servers import launch_ours, running
from loadtest.summary import Figures, spread
from loadtest.transport import WireTransport
from loadtest.turns import open_chat, take_turn
from loadtest.workload import draw_lines, seeded

# How much longer the p99 gap may be while cards are imported.
TARGET_GROWTH = 0.2
ALONE, IMPORTING = "alone", "while importing"
WIDTH = 512
TURN_S = 120.0
IMPORT_S = 120.0


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the benchmark; exits with 2 on bad ones."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.imports", description=__doc__)
    add = parser.add_argument
    add("--url", help="a server that runs; the cards stay there (default: one of our own, thrown away afterwards)")
    add("--model", default="models/tiny")
    add("--character", default="lyra", help="from the shipped library")
    add("--cards", type=int, default=1000)
    add("--picture-kb", type=int, default=400, help="of pixels in each card")
    add("--rounds", type=int, default=5, help="each of them alone, then with a share of the cards")
    add("--alone-s", type=float, default=30.0, help="how long the chat is timed alone in each round")
    add("--max-tokens", type=int, default=128)
    add("--max-model-len", type=int, default=4096)
    add("--memory", choices=["on", "off"], default="on", help="of the chat")
    add("--seed", type=int, default=0)
    add("--json", type=Path, help="write the figures here")
    add("--logs", type=Path, default=Path("build/bench"), help="where the server's output goes")
    return parser.parse_args(argv)


def draw_cards(count: int, picture_kb: int, seed: int) -> Iterator[bytes]:
    """PNG cards of the library's characters, each with a picture of noise, as hard to pack as a photograph."""
    rng = seeded(seed)
    shipped = list(load_library().values())
    height = max(1, picture_kb * 1024 // WIDTH)
    for number in range(count):
        card = shipped[number % len(shipped)]
        data = card.data.model_copy(update={"name": f"{card.data.name} {number}"})
        out = io.BytesIO()
        Image.frombytes("L", (WIDTH, height), rng.randbytes(WIDTH * height)).save(out, "PNG", compress_level=1)
        gallery = Gallery(card.model_copy(update={"data": data}), {}).with_avatar("picture", "png")
        yield write_card(CardFile(gallery.card, dict.fromkeys(gallery.files, out.getvalue())), "png")


Rounds = list[dict[str, list[float]]]


async def measure(url: str, arguments: argparse.Namespace) -> Rounds:
    """Chat and import; returns the gaps of each stage, round by round. Fails with a turn or a card that does."""
    cards = list(draw_cards(arguments.cards, arguments.picture_kb, arguments.seed))
    frames: list[list[float]] = []
    spans: list[dict[str, tuple[float, float]]] = []
    async with httpx.AsyncClient(base_url=url, transport=WireTransport()) as client:
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(_chat(client, arguments, frames, over))
            for number in range(arguments.rounds):
                began = perf_counter()
                await asyncio.sleep(arguments.alone_s)
                between = perf_counter()
                await _import(client, cards[number :: arguments.rounds])
                spans.append({ALONE: (began, between), IMPORTING: (between, perf_counter())})
            over.set()
    return [{stage: gaps_within(frames, *span) for stage, span in of_round.items()} for of_round in spans]


def pool(rounds: Rounds) -> dict[str, Figures]:
    """The spread of all rounds' gaps in each stage."""
    return {stage: spread([gap for of_round in rounds for gap in of_round[stage]]) for stage in (ALONE, IMPORTING)}


def gaps_within(frames: Sequence[Sequence[float]], began: float, ended: float) -> list[float]:
    """The gaps between frames of one turn that both came in this span."""
    return [after - before for turn in frames for before, after in pairwise(turn) if began <= before and after <= ended]


async def _chat(
    client: httpx.AsyncClient, arguments: argparse.Namespace, frames: list[list[float]], over: asyncio.Event
) -> None:
    # Not `ignore_eos`: what is generated behind an end is no text, and would pass for a gap between frames.
    sampling = Sampling(arguments.max_tokens, arguments.max_tokens)
    chat = SessionChat(arguments.character, sampling, memory=arguments.memory)
    await open_chat(client, chat, perf_counter(), TURN_S)
    rng = seeded(arguments.seed)
    while not over.is_set():
        now = perf_counter()
        sample = TurnSample(0, len(frames), arguments.character, now, now)
        [line] = draw_lines(rng, 1)
        await take_turn(client, chat, line, sample, TURN_S)
        if not sample.ok:
            raise RuntimeError(f"a turn failed: {sample.error} {sample.detail}")
        frames.append(sample.frames_s)


async def _import(client: httpx.AsyncClient, cards: Sequence[bytes]) -> None:
    for card in cards:
        async with asyncio.timeout(IMPORT_S):
            answer = await client.post("/characters/import", content=card, headers={"content-type": "image/png"})
        if answer.status_code != 200:
            raise RuntimeError(f"a card was refused: {answer.text[:500]}")


def growth(figures: dict[str, Figures]) -> float:
    """By how much the p99 gap is longer while importing than alone."""
    ratio: float = figures[IMPORTING]["p99"] / figures[ALONE]["p99"] - 1
    return ratio


def result_table(figures: dict[str, Figures], title: str) -> Table:
    """A row a stage."""
    table = Table(title=title, title_justify="left")
    for column in ("gap between frames", "frames", "p50, ms", "p90", "p99", "max"):
        table.add_column(column, justify="left" if column.startswith("gap") else "right")
    for name, row in figures.items():
        table.add_row(name, str(row["count"]), *(f"{row[key]:.2f}" for key in ("p50", "p90", "p99", "max")))
    return table


def main() -> int:
    """0 when the p99 gap grows by no more than the target."""
    arguments = parse_arguments()
    console = wide_console()
    machine = describe_machine()
    with ExitStack() as stack:
        url = arguments.url
        if url is None:
            arguments.logs.mkdir(parents=True, exist_ok=True)
            data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opencharacter-imports-")))
            launch = launch_ours(arguments.model, data_dir=data_dir, max_model_len=arguments.max_model_len)
            console.print("starting the server; its log is in", str(arguments.logs))
            stack.enter_context(running(launch, arguments.logs / "imports.log"))
            url = launch.url
        # Not before the server has started: it would inherit that.
        if not run_first():
            console.print("not allowed to run before all others: the client's own waits are in the figures")
        rounds = uvloop.run(measure(url, arguments))
    figures, by_round = pool(rounds), [pool([of_round]) for of_round in rounds]
    console.print(
        result_table(figures, f"one chat, {arguments.cards} cards of {arguments.picture_kb} kB, at the client")
    )
    console.print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    pairs = (" to ".join(f"{of_round[stage]['p99']:.1f}" for stage in (ALONE, IMPORTING)) for of_round in by_round)
    console.print("p99 round by round, alone to importing, ms: " + ", ".join(pairs))
    passed = growth(figures) <= TARGET_GROWTH
    console.print(
        f"p99 grows by {growth(figures):.0%}; target: at most {TARGET_GROWTH:.0%}: {'PASS' if passed else 'FAIL'}"
    )
    if arguments.json:
        report = {"machine": machine, "target": TARGET_GROWTH, "growth": growth(figures), "figures": figures}
        report["rounds"] = by_round
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
