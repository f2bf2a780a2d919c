"""One round of the bench: the same conversations with one server, at one stream and at many."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx
import numpy as np

from characters.library import load_library
from loadtest.chats import Chat, Sampling, SessionChat, TranscriptChat, greeting_of, head_of
from loadtest.closedloop import run_closed_loop
from loadtest.cpu import cpu_between, per_token_us
from loadtest.sample import Run
from loadtest.servers import VLLM_NAME, Server
from loadtest.summary import count_errors
from loadtest.transport import WireTransport
from loadtest.workload import CharacterMix
from models.sections import tail_text

# One stream: short replies, since only their first token counts.
SINGLE_CHATS, SINGLE_TOKENS = 6, 16
IDLE_S = 2.0

Round = Mapping[str, float]


class RoundFailedError(RuntimeError):
    """Turns failed, so that the round's figures would be of less work; the message counts them by kind."""


@dataclass(frozen=True, slots=True)
class Load:
    """What each round sends. `max_tokens` are generated in every reply, whatever the model would like to say."""

    streams: int
    chats: int
    turns: int
    max_tokens: int
    mix: CharacterMix
    stagger_s: float

    def sampling(self, max_tokens: int) -> Sampling:
        """Greedy, so that both servers generate the same."""
        return Sampling(max_tokens, max_tokens, ignore_eos=True, temperature=0.0)


def our_chat(sampling: Sampling) -> Callable[[str], Chat]:
    """A character's session: the server makes it, greets, builds the prompt and keeps the history."""
    return lambda character: SessionChat(character, sampling)


def vllm_chat(sampling: Sampling) -> Callable[[str], Chat]:
    """The same conversation for a server that knows no characters: the client sends what ours builds."""
    cards = load_library()

    def build(character: str) -> Chat:
        card = cards[character]
        opening = [*head_of(card), *greeting_of(card)]
        return TranscriptChat(VLLM_NAME, sampling, opening, tail_text(card))

    return build


async def warm_up(server: Server, load: Load) -> None:
    """One turn on every stream, and every character's head into the prefix cache. Raises RoundFailedError."""
    sampling = load.sampling(SINGLE_TOKENS)
    async with _client(server) as client:
        for mix in (load.mix, *(CharacterMix([character], [1.0]) for character in load.mix.ids)):
            streams = load.streams if mix is load.mix else 1
            await _drive(client, server, sampling, streams=streams, chats=1, turns=1, mix=mix, seed=-1, stagger_s=0.0)


async def measure_round(server: Server, idle: Server, load: Load, seed: int) -> Round:
    """Drive `server` while `idle` stands by. The same seed sends the same lines. Raises RoundFailedError."""
    async with _client(server) as client:
        single = await _drive(
            client,
            server,
            load.sampling(SINGLE_TOKENS),
            streams=1,
            chats=SINGLE_CHATS,
            turns=load.turns,
            mix=load.mix,
            seed=2 * seed,
            stagger_s=0.0,
        )
        await asyncio.sleep(IDLE_S)
        before, idle_before = server.processes.cpu_s(), idle.processes.cpu_s()
        many = await _drive(
            client,
            server,
            load.sampling(load.max_tokens),
            streams=load.streams,
            chats=load.chats,
            turns=load.turns,
            mix=load.mix,
            seed=2 * seed + 1,
            stagger_s=load.stagger_s,
        )
        cpu_s = cpu_between(before, server.processes.cpu_s())
        idle_s = sum(cpu_between(idle_before, idle.processes.cpu_s()).values())
    cpu_us = per_token_us(cpu_s, many.completion_tokens)
    gaps = [gap for turn in many.turns for gap in turn.gaps_s]
    return {
        "api_cpu_us_per_token": cpu_us["api"],
        "redis_cpu_us_per_token": cpu_us["redis"],
        "engine_cpu_us_per_token": cpu_us["engine"],
        "output_tokens_per_s": many.completion_tokens / many.wall_s,
        "ttft_p50_ms": _quantile([turn.ttft_s for turn in many.turns], 50),
        "ttft_p99_ms": _quantile([turn.ttft_s for turn in many.turns], 99),
        "ttft_single_p50_ms": _quantile([turn.ttft_s for turn in single.turns], 50),
        "itl_p50_ms": _quantile(gaps, 50),
        "itl_p99_ms": _quantile(gaps, 99),
        "tokens_per_frame": many.completion_tokens / sum(len(turn.frames_s) for turn in many.turns),
        "prompt_tokens": sum(turn.prompt_tokens for turn in many.turns),
        "cached_share": sum(turn.cached_tokens for turn in many.turns) / sum(turn.prompt_tokens for turn in many.turns),
        "completion_tokens": many.completion_tokens,
        "client_cpu_us_per_token": 1e6 * many.client_cpu_s / many.completion_tokens,
        "idle_server_cpu_share": idle_s / many.wall_s,
    }


async def _drive(
    client: httpx.AsyncClient,
    server: Server,
    sampling: Sampling,
    *,
    streams: int,
    chats: int,
    turns: int,
    mix: CharacterMix,
    seed: int,
    stagger_s: float,
) -> Run:
    new_chat = our_chat(sampling) if server.launch.name == "ours" else vllm_chat(sampling)
    run = await run_closed_loop(
        client, new_chat, streams=streams, chats=chats, turns=turns, mix=mix, seed=seed, stagger_s=stagger_s
    )
    if errors := count_errors(run):
        raise RoundFailedError(f"{server.launch.name}: {errors} in {run.planned_turns} turns")
    return run


def _client(server: Server) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.launch.url, transport=WireTransport())


def _quantile(values_s: list[float] | list[float | None], percent: float) -> float:
    return float(np.percentile([value for value in values_s if value is not None], percent)) * 1e3
