"""One long chat, turn after turn: held, and summed up by what its prompts cost."""

import asyncio
from collections.abc import Sequence
from time import perf_counter

import httpx
from prometheus_client.parser import text_string_to_metric_families

from loadtest.chats import Chat
from loadtest.sample import TurnSample
from loadtest.summary import Figures, by_turn, spread
from loadtest.turns import open_chat, take_turn

PREWARMED = "opencharacter_prewarmed_tokens_total"


async def hold_chat(
    client: httpx.AsyncClient, chat: Chat, lines: Sequence[str], number: int, *, think_s: float = 0.0
) -> list[TurnSample]:
    """Say the lines one after the other, thinking before each. Raises RuntimeError when a turn fails."""
    prewarmed = await count_prewarmed(client)
    opened = await open_chat(client, chat, perf_counter(), 120.0)
    if opened is not None and opened.error is not None:
        raise RuntimeError(f"no session: {opened.error}")
    samples = []
    for turn, line in enumerate(lines):
        await asyncio.sleep(think_s)
        earlier, prewarmed = prewarmed, await count_prewarmed(client)
        now = perf_counter()
        sample = await take_turn(client, chat, line, TurnSample(number, turn, "", now, now), 120.0)
        if not sample.ok:
            raise RuntimeError(f"turn {turn + 1} failed: {sample.error} {sample.detail}")
        sample.intended_s = sample.sent_s  # the client's own counting of tokens is no latency of the server's
        sample.prewarmed_tokens = prewarmed - earlier
        samples.append(sample)
    return samples


async def count_prewarmed(client: httpx.AsyncClient) -> int:
    """How many tokens the server has computed ahead of turns so far."""
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    return int(sum(one.value for family in families for one in family.samples if one.name == PREWARMED))


def sum_up(samples: Sequence[TurnSample], from_turn: int) -> Figures:
    """Cached share, prefilled tokens and TTFT of the turns from `from_turn` (counted from 1) on."""
    late = [sample for sample in samples if sample.turn + 1 >= from_turn]
    prompt_tokens = sum(sample.prompt_tokens for sample in late)
    cached_tokens = sum(sample.cached_tokens for sample in late)
    prewarmed_tokens = sum(sample.prewarmed_tokens for sample in late)
    return {
        "cached_share": cached_tokens / prompt_tokens,
        "prompt_tokens": prompt_tokens,
        "prompt_tokens_a_turn": prompt_tokens / len(late),
        "prewarmed_tokens_a_turn": prewarmed_tokens / len(late),
        "prefilled_tokens_a_turn": (prompt_tokens - cached_tokens + prewarmed_tokens) / len(late),
        "completion_tokens": sum(sample.completion_tokens for sample in late),
        "ttft_ms": spread(sample.ttft_s for sample in late),
        "by_turn": by_turn(samples),
    }
