"""`python -m loadtest`: open-loop, multi-turn load on a running server. `--help` lists the options."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import uvloop

from loadtest.chats import Chat, HeaderChat, Message, Sampling, SessionChat, TranscriptChat
from loadtest.cpu import cpu_between, find_processes, per_token_us
from loadtest.openloop import run_open_loop
from loadtest.plot import plot_run
from loadtest.report import latency_table, totals_table, wide_console
from loadtest.sample import Run
from loadtest.summary import Figures, Slo, summarize
from loadtest.transport import WireTransport
from loadtest.workload import SessionPlan, build_plans, parse_mix

# The client's own share of one core above which its time stamps say more about it than about the server.
BUSY_CLIENT = 0.8


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the load generator; exits with 2 on bad ones."""
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8000", help="plain http; latencies include no proxy and no TLS")
    add("--api", choices=("sessions", "openai"), default="sessions")
    add(
        "--no-server-history", action="store_true", help="openai: send the whole transcript, for servers that keep none"
    )
    add("--api-key", default="", help="sent as a bearer token")
    add("--characters", default="lyra", help="with weights: lyra:3,tomas")
    add("--model", default="", help="openai: this model instead of the character's name")
    add("--system-prompt-file", type=Path, help="openai without server history: the system message")
    add("--sessions", type=int, default=64)
    add("--rate", type=float, default=2.0, help="sessions that arrive a second, as a Poisson process")
    add("--turns", type=int, default=5)
    add("--think-s", type=float, default=1.0, help="mean pause after a reply, exponential")
    add("--max-tokens", type=int, default=128)
    add("--min-tokens", type=int, default=0)
    add("--ignore-eos", action="store_true", help="every reply is exactly --max-tokens long")
    add("--temperature", type=float, default=0.7)
    add("--seed", type=int, default=0, help="of arrivals, characters, lines and pauses")
    add("--timeout-s", type=float, default=120.0, help="of a whole turn")
    add("--slo-ttft-ms", type=float, default=500.0)
    add("--slo-tpot-ms", type=float, default=50.0)
    add("--server-pid", type=int, help="on this machine: CPU of the server and its children, a token")
    add("--json", type=Path, help="write the figures here")
    add("--plot", type=Path, help="write a PNG here")
    arguments = parser.parse_args(argv)
    if min(arguments.sessions, arguments.turns, arguments.max_tokens) < 1 or arguments.rate <= 0:
        parser.error("--sessions, --turns, --max-tokens and --rate are above 0")
    if arguments.api == "sessions" and (arguments.model or arguments.system_prompt_file or arguments.no_server_history):
        parser.error("--model, --system-prompt-file and --no-server-history go with --api openai")
    try:
        arguments.mix = parse_mix(arguments.characters)
    except ValueError as error:
        parser.error(f"--characters: {error}")
    return arguments


def chat_factory(arguments: argparse.Namespace) -> Callable[[str], Chat]:
    """A conversation with a character, in the API that was asked for."""
    sampling = Sampling(arguments.max_tokens, arguments.min_tokens, arguments.ignore_eos, arguments.temperature)
    if arguments.api == "sessions":
        return lambda character: SessionChat(character, sampling)
    if not arguments.no_server_history:
        return lambda character: HeaderChat(arguments.model or character, sampling)
    opening: list[Message] = []
    if arguments.system_prompt_file:
        opening = [{"role": "system", "content": arguments.system_prompt_file.read_text()}]
    return lambda character: TranscriptChat(arguments.model or character, sampling, opening)


async def measure(arguments: argparse.Namespace) -> tuple[Run, Figures]:
    """Send the plan and sum up what came back."""
    plans: list[SessionPlan] = list(
        build_plans(
            sessions=arguments.sessions,
            rate=arguments.rate,
            turns=arguments.turns,
            think_s=arguments.think_s,
            mix=arguments.mix,
            seed=arguments.seed,
        )
    )
    headers = {"authorization": f"Bearer {arguments.api_key}"} if arguments.api_key else {}
    url = httpx.URL(arguments.url)
    server = find_processes(arguments.server_pid, url.port or 80) if arguments.server_pid else None
    async with httpx.AsyncClient(base_url=url, headers=headers, transport=WireTransport()) as client:
        before = server.cpu_s() if server else None
        run = await run_open_loop(client, plans, chat_factory(arguments), arguments.timeout_s)
    figures = {"config": _config(arguments), **summarize(run, Slo(arguments.slo_ttft_ms, arguments.slo_tpot_ms))}
    if server and before:
        figures["server_cpu_us_per_token"] = per_token_us(cpu_between(before, server.cpu_s()), run.completion_tokens)
    return run, figures


def main() -> int:
    """0 when every turn succeeded, 1 otherwise."""
    arguments = parse_arguments()
    run, figures = uvloop.run(measure(arguments))
    console = wide_console()
    console.print(latency_table(figures), totals_table(figures))
    if figures["client"]["cpu_share"] > BUSY_CLIENT:
        console.print("[yellow]The client itself was busy: lower the load, or measure from another machine.")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if arguments.plot:
        title = f"{arguments.sessions} sessions at {arguments.rate:g}/s, {arguments.turns} turns, open loop"
        plot_run(run, figures, title, arguments.plot)
    return 0 if figures["turns_ok"] == figures["turns_planned"] else 1


def _config(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, without the key."""
    hidden = ("api_key", "mix", "json", "plot")
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(arguments).items()
        if name not in hidden
    }


if __name__ == "__main__":
    sys.exit(main())
