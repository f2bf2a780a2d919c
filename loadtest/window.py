"""`python -m loadtest.window`: a chat of 200 turns with lore and a note, in contexts of 4k and 8k, in three ways.

- ours: a session. History is cut in blocks, lore and note stand in the tail, what comes next is read between turns.
- a front-end's layout: the client keeps the transcript and sends the newest of it that fits, with lore above the
  character and the note at depth 4, as SillyTavern does.
- a sliding window alone: the same, but with lore and note where ours stand.

All play the same character with the same lines, one chat at a time, on one server with one model; the clients' chats
have the raw model and the same head. Between turns the user of ours thinks: what is read ahead meanwhile is counted
with the rest. Exits with 1 where a target is missed.
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

from loadtest.chats import Chat, Sampling, SessionChat
from loadtest.frontends import NOTE_DEPTH, SPARE_TOKENS, BookChat, FrontEndChat
from loadtest.longchat import hold_chat, sum_up
from loadtest.machine import describe_machine
from loadtest.places import NOTE, build_card, build_lore, draw_lines, to_wire
from loadtest.plot import plot_window
from loadtest.report import wide_console
from loadtest.sample import TurnSample
from loadtest.servers import ROOT, launch_ours, running
from loadtest.summary import Figures
from loadtest.transport import WireTransport
from loadtest.workload import seeded
from models.renderer import load_renderer

OURS, FRONT_END, WINDOW = "ours", "front-end's layout", "sliding window alone"
# The targets: of the front-end's prefilled tokens in the longest context, of the prompts' tokens, of TTFT's p50.
MOST_PREFILLED, LEAST_CACHED, MOST_SPIKE = 1 / 8, 0.88, 1.5


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the benchmark; exits with 2 on bad ones."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.window", description=__doc__)
    add = parser.add_argument
    add("--model", default="models/tiny")
    add("--contexts", type=lambda text: [int(part) for part in text.split(",")], default=[4096, 8192])
    add("--turns", type=int, default=200)
    add("--from-turn", type=int, default=50, help="figures are of this turn and those after it")
    add("--think-s", type=float, default=2.0, help="between the turns of our chat; the others gain nothing by waiting")
    add("--memory", choices=["on", "off"], default="off", help="of our session; the other chats have none")
    add("--head-tokens", type=int, default=1200)
    add("--max-tokens", type=int, default=64, help="of each reply, which has exactly that many")
    add("--temperature", type=float, default=0.7)
    add("--seed", type=int, default=0)
    add("--json", type=Path, help="write the figures, by turn, here")
    add("--plot", type=Path, help="write a PNG here")
    add("--logs", type=Path, default=Path("build/bench"), help="where the servers' output goes")
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.from_turn <= arguments.turns:
        parser.error("--from-turn is one of the turns")
    return arguments


async def hold_chats(url: str, context: int, arguments: argparse.Namespace) -> dict[str, list[TurnSample]]:
    """Hold every chat, one after the other. Raises RuntimeError when a turn fails."""
    sampling = Sampling(arguments.max_tokens, arguments.max_tokens, temperature=arguments.temperature)
    renderer = load_renderer(arguments.model)
    card, lore = build_card(renderer, arguments.head_tokens), build_lore(renderer)
    lines = draw_lines(seeded(arguments.seed), arguments.turns)
    limit_tokens = context - arguments.max_tokens
    async with httpx.AsyncClient(base_url=url, transport=WireTransport()) as client:
        models = (await client.get("/v1/models")).json()
        model = str(models["data"][0]["id"])  # the engine's own model comes first, then the characters
        made = await client.post("/characters", json=to_wire(card, lore))
        character = made.raise_for_status().json()["id"]
        chats: Mapping[str, Chat] = {
            OURS: SessionChat(character, sampling, note={"text": NOTE, "depth": NOTE_DEPTH}, memory=arguments.memory),
            FRONT_END: FrontEndChat(
                model, sampling, card, lore, NOTE, renderer=renderer, limit_tokens=limit_tokens - SPARE_TOKENS
            ),
            WINDOW: BookChat(model, sampling, card, lore, NOTE, renderer=renderer, limit_tokens=limit_tokens),
        }
        return {
            label: await hold_chat(client, chat, lines, number, think_s=arguments.think_s if label == OURS else 0.0)
            for number, (label, chat) in enumerate(chats.items())
        }


def result_table(figures: Mapping[str, Figures], title: str) -> Table:
    """A row a chat."""
    table = Table(title=title, title_justify="left")
    columns = ("prefilled tokens a turn", "of those, ahead", "cached", "TTFT p50, ms", "p99, ms", "max, ms", "prompt")
    for column in ("", *columns):
        table.add_column(column, justify="right" if column else "left")
    for label, row in figures.items():
        latency = row["ttft_ms"]
        cells = [f"{row[name]:.0f}" for name in ("prefilled_tokens_a_turn", "prewarmed_tokens_a_turn")]
        cells += [f"{row['cached_share']:.1%}", *(f"{latency[key]:.0f}" for key in ("p50", "p99", "max"))]
        table.add_row(label, *cells, f"{row['prompt_tokens_a_turn']:.0f}")
    return table


def find_verdicts(figures: Mapping[int, Mapping[str, Figures]]) -> list[tuple[str, bool]]:
    """Each target as what was measured, and whether it was met; `figures` are those of the chats by context."""
    longest = figures[max(figures)]
    share = longest[OURS]["prefilled_tokens_a_turn"] / longest[FRONT_END]["prefilled_tokens_a_turn"]
    told = f"{share:.3f} of the front-end's prefilled tokens at {max(figures)}, at most {MOST_PREFILLED:g}"
    verdicts = [(told, share <= MOST_PREFILLED)]
    for context, chats in figures.items():
        cached, latency = chats[OURS]["cached_share"], chats[OURS]["ttft_ms"]
        spike = latency["p99"] / latency["p50"]
        verdicts += [
            (f"{cached:.1%} of prompt tokens cached at {context}, at least {LEAST_CACHED:.0%}", cached >= LEAST_CACHED),
            (f"TTFT p99 of {spike:.2f} times p50 at {context}, at most {MOST_SPIKE:g}", spike <= MOST_SPIKE),
        ]
    return verdicts


def stretch(model: str, context: int, folder: Path) -> str:
    """The model, or a copy that says it has so long a context: its words are worth nothing there, its speed is real."""
    config_file = ROOT / model / "config.json"
    config = json.loads(config_file.read_text()) if config_file.is_file() else {}
    if config.get("max_position_embeddings", context) >= context:
        return model
    copy = folder / config_file.parent.name
    copy.mkdir()
    for file in config_file.parent.iterdir():
        (copy / file.name).symlink_to(file)
    (copy / config_file.name).unlink()
    (copy / config_file.name).write_text(json.dumps(config | {"max_position_embeddings": context}))
    return str(copy)


def measure(context: int, arguments: argparse.Namespace) -> dict[str, Figures]:
    """The figures of each chat in a context of that many tokens, on a server of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opencharacter-window-")))
        model = stretch(arguments.model, context, folder)
        launch = launch_ours(model, data_dir=folder / "data", max_model_len=context)
        stack.enter_context(running(launch, arguments.logs / f"window-{context}.log"))
        samples = uvloop.run(hold_chats(launch.url, context, arguments))
    return {label: sum_up(turns, arguments.from_turn) for label, turns in samples.items()}


def main() -> int:
    """0 when every target is met."""
    arguments = parse_arguments()
    console, machine = wide_console(), describe_machine()
    arguments.logs.mkdir(parents=True, exist_ok=True)
    console.print("starting servers; their logs are in", str(arguments.logs))
    figures = {context: measure(context, arguments) for context in arguments.contexts}
    for context, chats in figures.items():
        title = f"turns {arguments.from_turn}–{arguments.turns} at {context} tokens of context, think time of ours "
        console.print(result_table(chats, title + f"{arguments.think_s:g} s, TTFT seen by the client"))
    console.print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    verdicts = find_verdicts(figures)
    for told, met in verdicts:
        console.print(f"{'PASS' if met else 'FAIL'}: {told}")
    if arguments.json:
        report: dict[str, Any] = {"machine": machine, "verdicts": verdicts, "figures": figures}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    if arguments.plot:
        curves = {
            f"{label}, {context}": row["by_turn"] for context, chats in figures.items() for label, row in chats.items()
        }
        plot_window(curves, f"a chat of {arguments.turns} turns", arguments.plot)
    return 0 if all(met for _, met in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
