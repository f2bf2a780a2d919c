"""`python -m loadtest.window`: a chat of 200 turns in a 2k context, beside the same chat under a sliding window.

Ours is a session: history cut in blocks, its exact ids kept by the server. The baseline is what chat front-ends do:
the client keeps the transcript and sends the newest messages that fit, so that from the first full prompt on each turn
drops a message behind the head and everything after it moves. Both play the same character with the same
lines, one chat at a time, on one server with one model; the baseline has the raw model and the same head, which it
keeps. Exits with 1 where ours caches less than the target.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import httpx
import uvloop
from rich.table import Table

from characters.card import CharacterCard
from characters.library import load_library
from loadtest.chats import Chat, Message, Request, Sampling, SessionChat, TranscriptChat, greeting_of, head_of
from loadtest.machine import describe_machine
from loadtest.plot import plot_window
from loadtest.report import wide_console
from loadtest.sample import TurnSample
from loadtest.servers import launch_ours, running
from loadtest.summary import Figures, by_turn, spread
from loadtest.transport import WireTransport
from loadtest.turns import open_chat, take_turn
from loadtest.workload import draw_lines, seeded
from models.renderer import Renderer, Role, Turn, load_renderer

TARGET_SHARE = 0.85
OURS, BASELINE = "block cut, exact ids", "sliding window"


class WindowChat(TranscriptChat):
    """A transcript of which only the newest messages that fit are sent, counted as the server will count them."""

    def __init__(
        self,
        model: str,
        sampling: Sampling,
        head: list[Message],
        opening: list[Message],
        *,
        renderer: Renderer,
        limit_tokens: int,
    ) -> None:
        """`head` is never dropped."""
        super().__init__(model, sampling, [*head, *opening])
        self._pinned = len(head)
        self._renderer = renderer
        self._limit_tokens = limit_tokens

    def say(self, line: str) -> Request:
        while len(self.messages) > self._pinned and self._prompt_tokens(line) > self._limit_tokens:
            del self.messages[self._pinned]
        return super().say(line)

    def _prompt_tokens(self, line: str) -> int:
        encode = self._renderer.encode
        messages = [*self.messages, {"role": "user", "content": line}]
        turns = [Turn(cast(Role, message["role"]), encode(message["content"].strip())) for message in messages]
        return len(self._renderer.render(turns))


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the benchmark; exits with 2 on bad ones."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.window", description=__doc__)
    add = parser.add_argument
    add("--model", default="models/tiny")
    add("--character", default="lyra", help="from the shipped library")
    add("--turns", type=int, default=200)
    add("--from-turn", type=int, default=50, help="figures are of this turn and those after it")
    add("--chats", type=int, default=1, help="of each kind, one after the other")
    add("--max-model-len", type=int, default=2048)
    add("--max-tokens", type=int, default=64)
    add("--temperature", type=float, default=0.7)
    add("--seed", type=int, default=0)
    add("--json", type=Path, help="write the figures, by turn, here")
    add("--plot", type=Path, help="write a PNG here")
    add("--logs", type=Path, default=Path("build/bench"), help="where the server's output goes")
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.from_turn <= arguments.turns:
        parser.error("--from-turn is one of the turns")
    return arguments


async def hold_chats(url: str, arguments: argparse.Namespace, card: CharacterCard) -> dict[str, list[TurnSample]]:
    """Hold every chat, one at a time, ours and the baseline in turn. Raises RuntimeError when a turn fails."""
    sampling = Sampling(arguments.max_tokens, temperature=arguments.temperature)
    renderer = load_renderer(arguments.model)
    samples: dict[str, list[TurnSample]] = {OURS: [], BASELINE: []}
    async with httpx.AsyncClient(base_url=url, transport=WireTransport()) as client:
        models = (await client.get("/v1/models")).json()
        for number in range(arguments.chats):
            lines = draw_lines(seeded(arguments.seed + number), arguments.turns)
            baseline = WindowChat(
                str(models["data"][0]["id"]),  # the engine's own model comes first, then the characters
                sampling,
                head_of(card),
                greeting_of(card),
                renderer=renderer,
                limit_tokens=arguments.max_model_len - arguments.max_tokens,
            )
            chats: Mapping[str, Chat] = {OURS: SessionChat(arguments.character, sampling), BASELINE: baseline}
            for label, chat in chats.items():
                samples[label] += await hold_chat(client, chat, lines, number)
    return samples


async def hold_chat(client: httpx.AsyncClient, chat: Chat, lines: Sequence[str], number: int) -> list[TurnSample]:
    """Say the lines one after the other. Raises RuntimeError when a turn fails."""
    opened = await open_chat(client, chat, perf_counter(), 120.0)
    if opened is not None and opened.error is not None:
        raise RuntimeError(f"no session: {opened.error}")
    samples = []
    for turn, line in enumerate(lines):
        now = perf_counter()
        sample = await take_turn(client, chat, line, TurnSample(number, turn, "", now, now), 120.0)
        if not sample.ok:
            raise RuntimeError(f"turn {turn + 1} failed: {sample.error} {sample.detail}")
        sample.intended_s = sample.sent_s  # the client's own counting of tokens is no latency of the server's
        samples.append(sample)
    return samples


def sum_up(samples: Sequence[TurnSample], from_turn: int) -> Figures:
    """Cached share and TTFT of the turns from `from_turn` (counted from 1) on."""
    late = [sample for sample in samples if sample.turn + 1 >= from_turn]
    prompt_tokens = sum(sample.prompt_tokens for sample in late)
    return {
        "cached_share": sum(sample.cached_tokens for sample in late) / prompt_tokens,
        "prompt_tokens": prompt_tokens,
        "prompt_tokens_a_turn": prompt_tokens / len(late),
        "completion_tokens": sum(sample.completion_tokens for sample in late),
        "ttft_ms": spread(sample.ttft_s for sample in late),
        "by_turn": by_turn(samples),
    }


def result_table(figures: Mapping[str, Figures], title: str) -> Table:
    """A row a way of cutting."""
    table = Table(title=title, title_justify="left")
    for column in ("", "prompt tokens cached", "TTFT p50, ms", "p99, ms", "max, ms", "prompt tokens a turn"):
        table.add_column(column, justify="right" if column else "left")
    for label, row in figures.items():
        latency = row["ttft_ms"]
        cells = [f"{latency[key]:.0f}" for key in ("p50", "p99", "max")]
        table.add_row(label, f"{row['cached_share']:.1%}", *cells, f"{row['prompt_tokens_a_turn']:.0f}")
    return table


def main() -> int:
    """0 when ours caches what the target asks for."""
    arguments = parse_arguments()
    console = wide_console()
    machine = describe_machine()
    card = load_library()[arguments.character]
    arguments.logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opencharacter-window-")))
        launch = launch_ours(arguments.model, data_dir=data_dir, max_model_len=arguments.max_model_len)
        console.print("starting the server; its log is in", str(arguments.logs))
        stack.enter_context(running(launch, arguments.logs / "window.log"))
        samples = uvloop.run(hold_chats(launch.url, arguments, card))
    figures = {label: sum_up(turns, arguments.from_turn) for label, turns in samples.items()}
    title = (
        f"turns {arguments.from_turn}–{arguments.turns} at {arguments.max_model_len} tokens of context, "
        f"{arguments.chats} chat(s), one at a time, TTFT seen by the client"
    )
    console.print(result_table(figures, title))
    console.print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    passed = figures[OURS]["cached_share"] >= TARGET_SHARE
    console.print(f"target: at least {TARGET_SHARE:.0%} cached: {'PASS' if passed else 'FAIL'}")
    if arguments.json:
        report: dict[str, Any] = {"machine": machine, "target": TARGET_SHARE, "figures": figures}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    if arguments.plot:
        plot_window({label: row["by_turn"] for label, row in figures.items()}, title, arguments.plot)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
