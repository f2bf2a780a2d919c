"""Closed loop: a fixed number of streams, each sending its next message as soon as the last reply ended.

What a server costs at a concurrency that stays the same. Latencies say little about users: see `openloop`.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter, process_time

import httpx

from loadtest.chats import Chat
from loadtest.sample import OpenSample, Run, TurnSample
from loadtest.turns import open_chat, take_turn
from loadtest.workload import CharacterMix, draw_lines, seeded


async def run_closed_loop(
    client: httpx.AsyncClient,
    new_chat: Callable[[str], Chat],
    *,
    streams: int,
    chats: int,
    turns: int,
    mix: CharacterMix,
    seed: int,
    stagger_s: float = 0.0,
    timeout_s: float = 120.0,
) -> Run:
    """Each stream holds `chats` conversations of `turns` turns, one after the other.

    Streams start spread over `stagger_s`, so that their prefills don't all fall into one step of the engine, which no
    real load does.
    """
    samples: list[TurnSample] = []
    opens: list[OpenSample] = []
    cpu_s, started_s = process_time(), perf_counter()

    async def stream(number: int) -> None:
        rng = seeded(seed * 1_000_003 + number)
        await asyncio.sleep(stagger_s * number / streams)
        for conversation in range(chats):
            character = mix.draw(rng)
            chat = new_chat(character)
            opened = await open_chat(client, chat, perf_counter(), timeout_s)
            if opened is not None:
                opens.append(opened)
                if opened.error is not None:
                    continue
            for turn, line in enumerate(draw_lines(rng, turns)):
                now = perf_counter()
                sample = TurnSample(number * chats + conversation, turn, character, now, now)
                samples.append(await take_turn(client, chat, line, sample, timeout_s))

    async with asyncio.TaskGroup() as group:
        for number in range(streams):
            group.create_task(stream(number))
    return Run(samples, opens, streams * chats * turns, started_s, perf_counter(), process_time() - cpu_s)
