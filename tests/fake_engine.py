"""An engine that says what it is told, when it is told: for faults and pace alone.

Run as a program (`python -m tests.fake_engine`) it is `python -m app serve` with this engine, on FAKE_ENGINE's JSON:
the fields of `Script`.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path

from models.adapters import build_frame
from models.engine import (
    TURN,
    Adapter,
    Chunk,
    EngineDeadError,
    EngineError,
    FinishReason,
    Frame,
    SamplingParams,
    TokenLogprob,
)
from models.renderer import Renderer, load_renderer

# Characters of a reply in `says` that a chunk holds.
CHUNK = 50
TINY = Path(__file__).parent.parent / "models" / "tiny"


@dataclass
class Script:
    """What the engine says. `hold_after` stops it after so many chunks until `FakeEngine.go` is set, `hold_prefills`
    in every prefill.

    `says` are whole replies, one for each choice that is asked for, over and over; without them it says `words` words.
    """

    words: int = 6
    says: Sequence[str] = ()
    hold_after: int | None = None
    hold_prefills: bool = False
    fail_after: int | None = None
    failure: Exception = field(default_factory=lambda: RuntimeError("no failure was scripted"))
    gap_s: float = 0.0
    alone: Mapping[str, float] = field(default_factory=dict)
    """How likely a reply is without the card, in nats; what isn't named is as likely as with it, a nat a token."""
    hold_scores: bool = False
    fails_to_score: Exception | None = None


class FakeEngine:
    """See `models.engine.Engine`: one word a chunk, `one two three …`, with the real tokenizer's ids."""

    model = "fake/model"
    model_id = "fake"

    def __init__(self, renderer: Renderer, script: Script | None = None, max_model_len: int = 2048) -> None:
        self.renderer = renderer
        self.max_model_len = max_model_len
        self.script = script or Script()
        self.go = asyncio.Event()
        self.held = asyncio.Event()
        self.frame: Frame | None = build_frame(json.loads((TINY / "config.json").read_bytes()), 16)
        self.loaded: list[Adapter] = []
        self.refuses = ""
        self.voices: list[Adapter | None] = []
        self.prompts: list[list[int]] = []
        self.prefilled: list[list[int]] = []
        self.prefilled_by: list[Adapter | None] = []
        self.prefilling: list[list[int]] = []
        self.params: list[SamplingParams] = []
        self.replies = 0
        self.scored: list[list[int]] = []
        self.scored_by: list[Adapter | None] = []
        self.running: set[str] = set()
        self.aborted: list[str] = []
        self._error: Exception | None = None

    async def generate(
        self,
        prompt_token_ids: list[int],
        params: SamplingParams,
        *,
        request_id: str,
        cache_salt: str | None = None,
        priority: int = TURN,
        adapter: Adapter | None = None,
    ) -> AsyncGenerator[Chunk]:
        script = self.script
        assert adapter is None or adapter in self.loaded
        self.voices.append(adapter)
        self.prompts.append(prompt_token_ids)
        self.params.append(params)
        self.running.add(request_id)
        replies = self._replies(script, params)
        finished = False
        try:
            for number, texts in enumerate(zip_longest(*replies, fillvalue="")):
                await self._pace(script, number)
                for index, text in enumerate(texts):
                    yield self._chunk(index, text, self.renderer.encode(text), params)
            await self._pace(script, max(map(len, replies)))
            finished = True
            for index in range(len(replies)):
                yield self._chunk(index, "", [self.renderer.stop_token_ids[0]], params, "stop")
        finally:
            self.running.discard(request_id)
            if not finished:
                self.aborted.append(request_id)

    async def load(self, adapter: Adapter) -> None:
        """Refuses adapters whose names begin with `refuses`."""
        if self.refuses and adapter.name.startswith(self.refuses):
            raise EngineError("the engine couldn't load it")
        if adapter not in self.loaded:
            self.loaded.append(adapter)

    async def prefill(
        self,
        prompt_token_ids: list[int],
        *,
        request_id: str,
        cache_salt: str | None = None,
        adapter: Adapter | None = None,
        known: int = 0,
    ) -> int:
        assert adapter is None or adapter in self.loaded
        self.prefilling.append(prompt_token_ids)
        try:
            if self.script.hold_prefills:
                await self.go.wait()
            self.prefilled.append(prompt_token_ids)
            self.prefilled_by.append(adapter)
        finally:
            self.prefilling.remove(prompt_token_ids)
        return len(prompt_token_ids)

    async def score(
        self,
        prompt_token_ids: list[int],
        continuation_ids: Sequence[int],
        *,
        request_id: str,
        adapter: Adapter | None = None,
    ) -> float:
        assert adapter is None or adapter in self.loaded
        self.scored.append(prompt_token_ids)
        self.scored_by.append(adapter)
        self.running.add(request_id)
        try:
            if self.script.hold_scores:
                self.held.set()
                await self.go.wait()
            if self.script.fails_to_score:
                raise self.script.fails_to_score
        finally:
            self.running.discard(request_id)
        return self.script.alone.get(self.renderer.decode(continuation_ids), -1.0 * len(continuation_ids))

    def _chunk(
        self, index: int, text: str, ids: list[int], params: SamplingParams, reason: FinishReason | None = None
    ) -> Chunk:
        told = [] if params.logprobs is None else [TokenLogprob(self.renderer.decode([token]), -1.0) for token in ids]
        return Chunk(index, text, ids, reason, logprobs=told)

    def _replies(self, script: Script, params: SamplingParams) -> list[list[str]]:
        """The chunks of each choice."""
        if not script.says:
            return [[f"word{number} " for number in range(min(script.words, params.max_tokens or script.words))]]
        first, self.replies = self.replies, self.replies + params.n
        texts = [script.says[number % len(script.says)] for number in range(first, self.replies)]
        return [[text[at : at + CHUNK] for at in range(0, len(text), CHUNK)] for text in texts]

    async def _pace(self, script: Script, number: int) -> None:
        await asyncio.sleep(script.gap_s)
        if number == script.hold_after:
            self.held.set()
            await self.go.wait()
        if number == script.fail_after:
            raise script.failure

    def die(self) -> None:
        """Be as an engine whose process was killed."""
        self._error = EngineDeadError("killed by a test")

    def error(self) -> Exception | None:
        return self._error

    async def close(self) -> None:
        self.go.set()


def main() -> int:
    """Serve with a fake engine, otherwise as a user would."""
    from app import main as application
    from app import serve
    from app.settings import Settings

    async def open_engine(settings: Settings) -> FakeEngine:
        return FakeEngine(load_renderer(settings.model_path), Script(**json.loads(os.environ["FAKE_ENGINE"])))

    # What `serve` calls, with another engine: everything else is the program that ships.
    vars(serve)["create_app"] = partial(application.create_app, open_engine=open_engine)
    return serve.serve(Settings())


if __name__ == "__main__":
    sys.exit(main())
