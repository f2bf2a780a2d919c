"""What is the best of n worth, and what does it cost? `python -m models.evaluation fidelity models/tiny --n 4`.

The episodes of `models.evaluation.recall`, each turn answered n times in one batch. The first answer is what a client
gets without `fidelity`, and what the conversation goes on from; the judge's choice is what it gets with it. Both are
held against the card. The clock is read with one conversation at a time.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from models.engine import Engine, EngineError, SamplingParams
from models.evaluation.episodes import Episode, build_episodes
from models.evaluation.fidelity import Candidate, Entailment, Judge, Likelihood, Moment
from models.evaluation.trials import Trial, mark, score_trials
from models.nli import NliError, open_nli
from models.prompt import build_prompt
from models.renderer import RenderError, Turn
from models.scene import Scene
from models.sections import build_head, build_insertions

REPLY_TOKENS = 200
TIMED_EPISODES = 2
MOST_CANDIDATES, MOST_AT_ONCE = 16, 1000


class Rehearsal:
    """Plays episodes with n candidates a turn."""

    def __init__(self, engine: Engine, judge: Judge | None, n: int, temperature: float) -> None:
        self._engine = engine
        self._judge = judge
        self._n = n
        self._temperature = temperature

    async def play(self, episode: Episode, name: str) -> list[Trial]:
        """A trial for each question; without a judge the first candidate is chosen."""
        renderer, character = self._engine.renderer, episode.character
        scene = Scene(character.card, character.user)
        head, inserted = build_head(renderer.encode, scene), build_insertions(renderer.encode, scene)
        greetings = character.card.greetings()[:1]
        turns = [
            Turn("assistant", renderer.encode(character.card.expand(text, character.user.name))) for text in greetings
        ]
        trials, start = [], 0
        for number, question in enumerate(episode.questions):
            turns.append(Turn("user", renderer.encode(question.text)))
            limit = self._engine.max_model_len - REPLY_TOKENS
            prompt = build_prompt(renderer, head, turns, inserted=inserted, limit_tokens=limit, start=start)
            start = prompt.start
            candidates = await self._answer(prompt.token_ids, number, f"{name}-{number}")
            scores = [0.0]
            if self._judge:
                scores = await self._judge.score(candidates, Moment(character.card, character.user, list(turns)))
            trials.append(mark(episode, question, candidates, scores))
            turns.append(Turn("assistant", candidates[0].token_ids))
        return trials

    async def _answer(self, prompt: list[int], seed: int, request_id: str) -> list[Candidate]:
        params = SamplingParams(
            max_tokens=REPLY_TOKENS,
            n=self._n,
            temperature=self._temperature,
            top_p=0.95,
            seed=seed,
            logprobs=0 if self._judge else None,
        )
        ids: list[list[int]] = [[] for _ in range(self._n)]
        logprobs: list[list[float]] = [[] for _ in range(self._n)]
        async with aclosing(self._engine.generate(prompt, params, request_id=request_id)) as chunks:
            async for chunk in chunks:
                ids[chunk.index] += chunk.token_ids
                logprobs[chunk.index] += [token.logprob for token in chunk.logprobs]
        stops = frozenset(self._engine.renderer.stop_token_ids)
        said = [one[:-1] if one and one[-1] in stops else one for one in ids]
        return [
            Candidate(self._engine.renderer.decode(one), one, told[: len(one)])
            for one, told in zip(said, logprobs, strict=True)
        ]


async def play_all(rehearsal: Rehearsal, episodes: Sequence[Episode], concurrency: int) -> list[list[Trial]]:
    """The trials of each episode, so many at a time; a bar tells how far it is."""
    gate = asyncio.Semaphore(concurrency)
    with Progress(console=Console(stderr=True)) as bar:
        counted = bar.add_task("conversations", total=len(episodes))

        async def play(number: int, episode: Episode) -> list[Trial]:
            async with gate:
                trials = await rehearsal.play(episode, f"gain-{number}")
            bar.advance(counted)
            return trials

        return await asyncio.gather(*(play(number, episode) for number, episode in enumerate(episodes)))


async def time_turns(engine: Engine, judge: Judge | None, episodes: Sequence[Episode], n: int, warm: str) -> float:
    """Milliseconds a turn, one conversation at a time."""
    rehearsal = Rehearsal(engine, judge, n, 0.7)
    turns, began = 0, time.perf_counter()
    for number, episode in enumerate(episodes):
        turns += len(await rehearsal.play(episode, f"time-{warm}-{number}"))
    return (time.perf_counter() - began) * 1000 / turns


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Open engine and judge, play, read the clock, close them."""
    from models.vllm_engine.opening import open_vllm_engine  # starts a process of its own: only when measuring

    engine = await open_vllm_engine(options.model, max_model_len=options.max_model_len)
    nli = await open_nli(options.nli) if options.nli else None
    try:
        judge: Judge = Entailment(nli) if nli else Likelihood(engine)
        episodes = build_episodes(options.characters, options.seed)
        played = await play_all(Rehearsal(engine, judge, options.n, options.temperature), episodes, options.concurrency)
        timed = build_episodes(TIMED_EPISODES, options.seed + 1)
        await time_turns(engine, None, timed[:1], 1, "warm")
        cost = {
            "plain_ms": await time_turns(engine, None, timed, 1, "plain"),
            "candidates_ms": await time_turns(engine, None, timed, options.n, "candidates"),
            "chosen_ms": await time_turns(engine, judge, timed, options.n, "chosen"),
        }
    finally:
        await engine.close()
        if nli:
            await nli.close()
    trials = [trial for those in played for trial in those]
    told = {"model": options.model, "n": options.n, "temperature": options.temperature, "judge": judge.name}
    return {**told, "turns": len(trials), "cost": cost, "scores": score_trials(trials)}


def print_gain(report: dict[str, Any], console: Console) -> None:
    """A line for each measure, and what a turn costs."""
    table = Table("measure", "one reply", f"best of {report['n']}", "gain", "any of them", "of")
    for name, one in report["scores"].items():
        low, high = one["interval"]
        gain = f"{one['gain']:+.1%} [{low:+.1%}, {high:+.1%}]"
        shares = [f"{one[which]['share']:.1%}" for which in ("first", "chosen", "possible")]
        table.add_row(name, shares[0], shares[1], gain, shares[2], str(one["first"]["of"]))
    console.print(table)
    cost = report["cost"]
    console.print(
        f"a turn takes {cost['plain_ms']:.0f} ms, {report['n']} candidates {cost['candidates_ms']:.0f} ms, "
        f"with the choice {cost['chosen_ms']:.0f} ms ({report['judge']})",
        highlight=False,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or Hugging Face id")
    parser.add_argument("--n", type=int, choices=range(2, MOST_CANDIDATES + 1), metavar="N", default=4)
    parser.add_argument("--characters", type=int, choices=range(1, MOST_AT_ONCE + 1), metavar="N", default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--max-model-len", type=int, default=None)
    parser.add_argument("--concurrency", type=int, choices=range(1, MOST_AT_ONCE + 1), metavar="N", default=16)
    parser.add_argument("--nli", help="a classifier of natural language inference as the judge")
    parser.add_argument("--json", type=Path, help="write the report there")
    options = parser.parse_args(arguments)
    try:
        report = asyncio.run(measure(options))
        print_gain(report, Console())
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    except (EngineError, NliError, RenderError, OSError) as error:
        Console(stderr=True).print(f"stopped: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
