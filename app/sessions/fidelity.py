"""The best of several replies: all are written, the one that is truest to the card is told.

Nothing of a reply is heard before the last candidate has ended and all were judged. Stopped or failed before that, the
turn has said nothing.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from app.errors import UnavailableError
from app.metrics import Metrics
from app.sessions.beginning import Beginning
from app.sessions.choice import Choice
from models.engine import Chunk, FinishReason, SamplingParams
from models.evaluation.fidelity import Candidate, Judge, Moment
from models.nli import NliError


class Chooser:
    """Chooses the reply of one turn. `stop_ids` are those that end a reply, `begun` how many ids each begins with.

    `scores` are all candidates', best first, once it has chosen; logprobs are told where the client `wants_logprobs`.
    """

    def __init__(
        self,
        judge: Judge,
        moment: Moment,
        metrics: Metrics,
        *,
        stop_ids: frozenset[int],
        begun: int,
        wants_logprobs: bool,
    ) -> None:
        self.scores: Sequence[float] = ()
        self._judge = judge
        self._moment = moment
        self._metrics = metrics
        self._stop_ids = stop_ids
        self._begun = begun
        self._wants_logprobs = wants_logprobs

    @property
    def judged_by(self) -> str:
        return self._judge.name

    async def choose(self, chunks: AsyncGenerator[Chunk], count: int) -> AsyncGenerator[Chunk]:
        """Each of `count` candidates in one chunk, numbered from the best: it is number 0, and comes last.

        Closing it closes `chunks`. Raises UnavailableError where they can't be judged.
        """
        candidates = [Choice() for _ in range(count)]
        cached = 0
        async with aclosing(chunks):
            async for chunk in chunks:
                candidates[chunk.index].hear(chunk)
                cached = max(cached, chunk.cached_tokens)
        began = time.perf_counter()
        scores = await self._score(candidates)
        self._metrics.choosing.observe(time.perf_counter() - began)
        self._metrics.candidates.inc(count)
        # Who says nothing contradicts nothing, and is chosen last.
        ranked = sorted(range(count), key=lambda place: (bool(candidates[place].content), scores[place]), reverse=True)
        self.scores = [scores[place] for place in ranked]
        for rank, place in reversed(list(enumerate(ranked))):
            choice = candidates[place]
            logprobs = choice.logprobs if self._wants_logprobs else ()
            yield Chunk(rank, choice.content, choice.token_ids, _ended(choice), cached, logprobs)

    async def _score(self, candidates: Sequence[Choice]) -> list[float]:
        try:
            return await self._judge.score([self._read(choice) for choice in candidates], self._moment)
        except NliError as error:
            raise UnavailableError(f"the replies can't be judged: {error}", code="fidelity_failed") from error

    def _read(self, choice: Choice) -> Candidate:
        """What was generated: neither the words that lore begins it with, nor what ends it."""
        ids = choice.token_ids[self._begun :]
        logprobs = [token.logprob for token in choice.logprobs]
        if ids and ids[-1] in self._stop_ids:
            ids = ids[:-1]
        return Candidate(choice.content, ids, logprobs[: len(ids)])


class Choosing:
    """Has the replies of turns chosen by one judge. `stop_ids` are those that end a reply."""

    def __init__(self, judge: Judge, metrics: Metrics, stop_ids: frozenset[int]) -> None:
        self._judge = judge
        self._metrics = metrics
        self._stop_ids = stop_ids

    def build_chooser(
        self, moment: Moment, beginning: Beginning, params: SamplingParams
    ) -> tuple[Chooser, SamplingParams]:
        """Who chooses the reply, and the sampling of candidates, whose logprobs are needed for that."""
        chooser = Chooser(
            self._judge,
            moment,
            self._metrics,
            stop_ids=self._stop_ids,
            begun=len(beginning.token_ids),
            wants_logprobs=params.logprobs is not None,
        )
        return chooser, replace(params, logprobs=params.logprobs or 0)


def _ended(choice: Choice) -> FinishReason | None:
    return None if choice.finish_reason is None else "length" if choice.finish_reason == "length" else "stop"
