"""`python -m loadtest.compare`: our server beside vLLM's own Python server, on the same model and machine, in one run.

Both are up all the time and only one is driven: rounds then alternate within seconds (A B, B A, A B), so that a
machine that slows down or speeds up meets both alike. What an idle server takes is measured and shown; on two cores it
was 0.01 of a core. Closed loop, greedy, every reply of the same length, the same lines: ours with a character's session
(which the server makes, greets in, stores and builds the prompt from), vLLM's with the same text sent by the client.
Exits with 1 where a target isn't met.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import uvloop
from rich.console import Console

from loadtest.machine import describe_machine
from loadtest.report import wide_console
from loadtest.rounds import Load, Round, measure_round, warm_up
from loadtest.servers import Launch, Server, launch_ours, launch_vllm, running
from loadtest.verdict import comparison_table, failed_targets, medians
from loadtest.workload import parse_mix

Rounds = tuple[list[Round], list[Round]]


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the bench; exits with 2 on bad ones."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.compare", description=__doc__)
    add = parser.add_argument
    add("--model", default="models/tiny")
    add("--max-model-len", type=int, default=2048)
    add("--stream-interval", type=int, help="of both servers: tokens a frame (default: their own)")
    add("--rounds", type=int, default=3)
    add("--streams", type=int, default=64)
    add("--chats", type=int, default=1, help="conversations a stream holds in a round")
    add("--turns", type=int, default=4)
    add("--max-tokens", type=int, default=128)
    add("--stagger-s", type=float, default=1.0, help="streams start spread over this")
    add("--characters", default="lyra,hasan,shiro,osbern", help="from the shipped library")
    add("--seed", type=int, default=0)
    add("--vllm-arg", action="append", default=[], help="one more argument for vLLM's server; repeatable")
    add("--gpu-memory-utilization", type=float, default=0.4, help="of each server; ignored without a GPU")
    add("--json", type=Path, help="write all rounds here")
    add("--logs", type=Path, default=Path("build/bench"), help="where the servers' output goes")
    arguments = parser.parse_args(argv)
    if min(arguments.rounds, arguments.streams, arguments.chats, arguments.turns) < 1:
        parser.error("--rounds, --streams, --chats and --turns are at least 1")
    if arguments.max_tokens < 2:
        parser.error("--max-tokens is at least 2")
    return arguments


async def run_rounds(ours: Server, theirs: Server, load: Load, rounds: int, seed: int, console: Console) -> Rounds:
    """Warm both up, then measure: A B, B A, A B, …"""
    for server in (ours, theirs):
        await warm_up(server, load)
    results: Rounds = ([], [])
    for number in range(rounds):
        pair = ((ours, theirs, results[0]), (theirs, ours, results[1]))
        for driven, idle, figures in pair if number % 2 == 0 else pair[::-1]:
            await asyncio.sleep(1.0)
            figures.append(await measure_round(driven, idle, load, seed + number))
            console.print(
                f"round {number + 1}, {driven.launch.name}: {figures[-1]['api_cpu_us_per_token']:.1f} µs a token, "
                f"{figures[-1]['output_tokens_per_s']:.0f} tokens/s"
            )
    return results


def main() -> int:
    """0 when all targets are met."""
    arguments = parse_arguments()
    console = wide_console()
    load = Load(
        arguments.streams,
        arguments.chats,
        arguments.turns,
        arguments.max_tokens,
        parse_mix(arguments.characters),
        arguments.stagger_s,
    )
    machine = describe_machine()
    arguments.logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opencharacter-bench-")))
        console.print("starting vLLM's server, then ours; logs in", str(arguments.logs))
        theirs = stack.enter_context(running(_launch_vllm(arguments), arguments.logs / "vllm.log"))
        ours = stack.enter_context(running(_launch_ours(arguments, data_dir), arguments.logs / "ours.log"))
        mine, other = uvloop.run(run_rounds(ours, theirs, load, arguments.rounds, arguments.seed, console))
        flags = {server.launch.name: [*server.launch.argv[1:]] for server in (ours, theirs)}
    title = (
        f"{load.streams} streams, closed loop, {load.turns} turns of {load.max_tokens} tokens, "
        f"median of {arguments.rounds} rounds (spread), latencies seen by the client"
    )
    console.print(comparison_table(mine, other, title))
    console.print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    failed = failed_targets(medians(mine), medians(other))
    if arguments.json:
        report = {
            "machine": machine,
            "load": asdict(load),
            "servers": flags,
            "ours": mine,
            "vllm": other,
            "failed": failed,
        }
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if failed else 0


def _launch_vllm(arguments: argparse.Namespace) -> Launch:
    on_gpu = shutil.which("nvidia-smi") is not None
    memory = ["--gpu-memory-utilization", str(arguments.gpu_memory_utilization)] if on_gpu else []
    return launch_vllm(
        arguments.model,
        max_model_len=arguments.max_model_len,
        stream_interval=arguments.stream_interval,
        eager=not on_gpu,
        extra=[*memory, *arguments.vllm_arg],
    )


def _launch_ours(arguments: argparse.Namespace, data_dir: Path) -> Launch:
    return launch_ours(
        arguments.model,
        data_dir=data_dir,
        max_model_len=arguments.max_model_len,
        stream_interval=arguments.stream_interval,
        extra={"OPENCHARACTER_GPU_MEMORY_UTILIZATION": str(arguments.gpu_memory_utilization)},
    )


if __name__ == "__main__":
    sys.exit(main())
