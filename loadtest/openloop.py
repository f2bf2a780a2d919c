"""Open loop: sessions arrive on schedule, whether or not the server keeps up, as users do."""

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter, process_time

import httpx

from loadtest.chats import Chat
from loadtest.sample import OpenSample, Run, TurnSample
from loadtest.turns import open_chat, take_turn
from loadtest.workload import SessionPlan


async def run_open_loop(
    client: httpx.AsyncClient, plans: Sequence[SessionPlan], new_chat: Callable[[str], Chat], timeout_s: float
) -> Run:
    """Send every plan at its time. `new_chat` makes a conversation with a character."""
    turns: list[TurnSample] = []
    opens: list[OpenSample] = []
    cpu_s, started_s = process_time(), perf_counter()

    async def converse(plan: SessionPlan) -> None:
        intended_s = started_s + plan.arrival_s
        await _until(intended_s)
        chat = new_chat(plan.character)
        opened = await open_chat(client, chat, intended_s, timeout_s)
        if opened is not None:
            opens.append(opened)
            intended_s = opened.ended_s
            if opened.error is not None:
                return
        for number, line in enumerate(plan.lines):
            sample = TurnSample(plan.number, number, plan.character, intended_s, perf_counter())
            turns.append(await take_turn(client, chat, line, sample, timeout_s))
            intended_s = sample.ended_s + plan.thinks_s[number]
            if number + 1 < len(plan.lines):
                await _until(intended_s)

    async with asyncio.TaskGroup() as group:
        for plan in plans:
            group.create_task(converse(plan))
    planned = sum(len(plan.lines) for plan in plans)
    return Run(turns, opens, planned, started_s, perf_counter(), process_time() - cpu_s)


async def _until(when_s: float) -> None:
    await asyncio.sleep(max(0.0, when_s - perf_counter()))
