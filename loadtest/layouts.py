"""`python -m loadtest.layouts`: what lore costs, by where it stands in the prompt.

One card with twelve lore entries, of which about two fire a turn, and an author's note, held in the same long chat
under each layout: `cache` (found lore in the tail), `freeze` (baked into the history where it fired), `compat` (before
the character, as front-ends put it), and the card without its lore. Lines are the same, one chat at a time, one server.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import uvloop
from rich.table import Table

from characters.library import load_library
from loadtest.chats import Sampling, SessionChat
from loadtest.longchat import hold_chat, sum_up
from loadtest.machine import describe_machine
from loadtest.report import wide_console
from loadtest.sample import TurnSample
from loadtest.servers import launch_ours, running
from loadtest.summary import Figures
from loadtest.transport import WireTransport
from loadtest.workload import THINGS, draw_lines, seeded

ENTRIES = 12
# Each entry reads the two newest exchanges, so that about two of them fire.
SCAN_DEPTH = 4
NOTE = {"text": "Keep it short, and end on something that can be seen.", "depth": 4}
LORE = "In these parts they say of it that it was here before the houses, and that whoever asks is told another story."
LAYOUTS: Mapping[str, dict[str, Any]] = {
    "no lore": {},
    "cache": {"layout": "cache"},
    "freeze": {"layout": "cache"},
    "compat": {"layout": "compat"},
}


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the benchmark; exits with 2 on bad ones."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.layouts", description=__doc__)
    add = parser.add_argument
    add("--model", default="models/tiny")
    add("--character", default="lyra", help="from the shipped library")
    add("--turns", type=int, default=120)
    add("--from-turn", type=int, default=40, help="figures are of this turn and those after it")
    add("--max-model-len", type=int, default=2048)
    add("--max-tokens", type=int, default=64)
    add("--seed", type=int, default=0)
    add("--json", type=Path, help="write the figures, by turn, here")
    add("--logs", type=Path, default=Path("build/bench"), help="where the server's output goes")
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.from_turn <= arguments.turns:
        parser.error("--from-turn is one of the turns")
    return arguments


def build_card(character: str, layout: str) -> dict[str, Any]:
    """The card of a layout, as JSON to register."""
    card = load_library()[character].to_v3()
    data = card["data"]
    frozen = {"opencharacter": {"freeze": True}} if layout == "freeze" else {}
    entries = [
        {
            "keys": [thing.rsplit(" ", 1)[-1]],
            "content": f"{thing.capitalize()}: {LORE}",
            "extensions": {"scan_depth": SCAN_DEPTH, **frozen},
            "enabled": True,
            "insertion_order": number,
            "position": "before_char",
            "use_regex": False,
        }
        for number, thing in enumerate(THINGS[:ENTRIES])
    ]
    ours = {**data["extensions"].get("opencharacter", {}), **LAYOUTS[layout]}
    book = {"entries": entries if layout != "no lore" else [], "extensions": {}}
    return {**card, "data": {**data, "character_book": book, "extensions": {"opencharacter": ours}}}


async def hold_chats(url: str, arguments: argparse.Namespace) -> dict[str, list[TurnSample]]:
    """The same chat under every layout. Raises RuntimeError when a turn fails."""
    sampling = Sampling(arguments.max_tokens)
    lines = draw_lines(seeded(arguments.seed), arguments.turns)
    samples: dict[str, list[TurnSample]] = {}
    async with httpx.AsyncClient(base_url=url, transport=WireTransport()) as client:
        for number, layout in enumerate(LAYOUTS):
            made = await client.post("/characters", json=build_card(arguments.character, layout))
            chat = SessionChat(made.raise_for_status().json()["id"], sampling, note=NOTE, memory="off")
            samples[layout] = await hold_chat(client, chat, lines, number)
    return samples


def result_table(figures: Mapping[str, Figures], title: str) -> Table:
    """A row a layout."""
    table = Table(title=title, title_justify="left")
    for column in ("layout", "prefilled tokens a turn", "prompt tokens a turn", "cached", "TTFT p50, ms", "p99, ms"):
        table.add_column(column, justify="left" if column == "layout" else "right")
    for label, row in figures.items():
        latency = row["ttft_ms"]
        cells = [f"{row[name]:.0f}" for name in ("prefilled_tokens_a_turn", "prompt_tokens_a_turn")]
        cells.append(f"{row['cached_share']:.1%}")
        table.add_row(label, *cells, f"{latency['p50']:.0f}", f"{latency['p99']:.0f}")
    return table


def main() -> int:
    """0 when every turn was answered."""
    arguments = parse_arguments()
    console = wide_console()
    arguments.logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opencharacter-layouts-")))
        launch = launch_ours(arguments.model, data_dir=data_dir, max_model_len=arguments.max_model_len)
        console.print("starting the server; its log is in", str(arguments.logs))
        stack.enter_context(running(launch, arguments.logs / "layouts.log"))
        samples = uvloop.run(hold_chats(launch.url, arguments))
    figures = {label: sum_up(turns, arguments.from_turn) for label, turns in samples.items()}
    title = f"turns {arguments.from_turn}–{arguments.turns} at {arguments.max_model_len} tokens of context"
    console.print(result_table(figures, title))
    console.print(" · ".join(f"{key} {value}" for key, value in describe_machine().items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": describe_machine(), "figures": figures}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
