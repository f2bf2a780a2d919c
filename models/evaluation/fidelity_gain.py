"""What is the best of n worth, and what does it cost? `python -m models.evaluation fidelity models/tiny --n 4`.

The episodes of `models.evaluation.recall`, each turn answered n times in one batch. The first answer is what a client
gets without `fidelity`, and what the conversation goes on from; the judge's choice is what it gets with it. Both are
held against the card. The clock is read with one conversation at a time.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from models.engine import Engine, SamplingParams
from models.evaluation.episodes import Episode, Question, build_episodes
from models.evaluation.fidelity import Candidate, Entailment, Judge, Likelihood, Moment
from models.evaluation.marks import contains_phrase, recalls
from models.evaluation.proportion import Z, proportion
from models.nli import open_nli
from models.prompt import build_prompt
from models.renderer import Turn
from models.scene import Scene
from models.sections import build_head, build_insertions
from models.synthesis.voices import load_voices

REPLY_TOKENS = 200
TIMED_EPISODES = 2


@dataclass(frozen=True, slots=True)
class Trial:
    """One turn: for each candidate whether it was right and in the card's voice, and which the judge chose."""

    kind: str
    right: Sequence[bool]
    voiced: Sequence[bool]
    chosen: int


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


def mark(episode: Episode, question: Question, candidates: Sequence[Candidate], scores: Sequence[float]) -> Trial:
    """What the candidates were worth; small talk can't be wrong."""
    character = episode.character
    voice = load_voices()[character.voice]
    quoted = character.values[question.about].spoken if question.kind == "field" else question.wanted

    def is_right(text: str) -> bool:
        if question.kind == "field":
            return recalls(question.about, character.values[question.about], text)
        return question.kind != "recall" or contains_phrase(text, question.wanted)

    texts = [candidate.text for candidate in candidates]
    chosen = max(range(len(scores)), key=lambda place: (bool(texts[place]), scores[place]))
    return Trial(
        question.kind, [is_right(text) for text in texts], [voice.is_heard_in(text, quoted) for text in texts], chosen
    )


def score_trials(trials: Sequence[Trial]) -> dict[str, Any]:
    """For card, user and voice: the first answer, the chosen one, the best there was, and the gain in pairs."""
    kinds: dict[str, tuple[Sequence[Trial], Callable[[Trial], Sequence[bool]]]] = {
        "card": ([trial for trial in trials if trial.kind == "field"], lambda trial: trial.right),
        "user": ([trial for trial in trials if trial.kind == "recall"], lambda trial: trial.right),
        "voice": (trials, lambda trial: trial.voiced),
    }
    scores = {}
    for name, (those, read) in kinds.items():
        pairs = [(read(trial)[0], read(trial)[trial.chosen]) for trial in those]
        gain, interval = compare_pairs(pairs)
        scores[name] = {
            "first": proportion([first for first, _ in pairs]).to_json(),
            "chosen": proportion([chosen for _, chosen in pairs]).to_json(),
            "possible": proportion([any(read(trial)) for trial in those]).to_json(),
            "gain": gain,
            "interval": interval,
        }
    return scores


def compare_pairs(pairs: Sequence[tuple[bool, bool]]) -> tuple[float, tuple[float, float]]:
    """How many more of the second ones are true, with the 95 % interval of paired shares."""
    if not pairs:
        return 0.0, (-1.0, 1.0)
    won = sum(second and not first for first, second in pairs)
    lost = sum(first and not second for first, second in pairs)
    gain = (won - lost) / len(pairs)
    reach = Z * sqrt(max(0.0, won + lost - (won - lost) ** 2 / len(pairs))) / len(pairs)
    return gain, (gain - reach, gain + reach)


async def time_turns(engine: Engine, judge: Judge | None, episodes: Sequence[Episode], n: int, warm: str) -> float:
    """Milliseconds a turn, one conversation at a time."""
    rehearsal = Rehearsal(engine, judge, n, 0.7)
    turns, began = 0, time.perf_counter()
    for number, episode in enumerate(episodes):
        turns += len(await rehearsal.play(episode, f"time-{warm}-{number}"))
    return (time.perf_counter() - began) * 1000 / turns


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Open engine and judge, play, read the clock, close them."""
    from models.vllm_engine import open_vllm_engine  # starts a process of its own: only when measuring

    engine = await open_vllm_engine(options.model, max_model_len=options.max_model_len)
    nli = await open_nli(options.nli) if options.nli else None
    try:
        judge: Judge = Entailment(nli) if nli else Likelihood(engine)
        episodes = build_episodes(options.characters, options.seed)
        gate = asyncio.Semaphore(options.concurrency)
        rehearsal = Rehearsal(engine, judge, options.n, options.temperature)

        async def play(number: int, episode: Episode) -> list[Trial]:
            async with gate:
                return await rehearsal.play(episode, f"gain-{number}")

        played = await asyncio.gather(*(play(number, episode) for number, episode in enumerate(episodes)))
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
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--characters", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--max-model-len", type=int, default=None)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--nli", help="a classifier of natural language inference as the judge")
    parser.add_argument("--json", type=Path, help="write the report there")
    options = parser.parse_args(arguments)
    report = asyncio.run(measure(options))
    print_gain(report, Console())
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
