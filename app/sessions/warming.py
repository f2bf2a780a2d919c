"""Reading prompts into the engine's cache ahead of their turns, at low priority and only while there is room for it."""

import array
import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain

import anyio

from app.errors import ApiError
from app.metrics import Metrics
from app.sessions.ids import new_id
from app.sessions.running import Running
from app.sessions.voices import Voices
from models.engine import Engine, EngineError, InvalidRequest
from models.renderer import Turn

logger = logging.getLogger(__name__)

# Prompts that are read ahead at a time.
MOST_WARMING = 2
# For how long a head counts as read, and of how many that is known.
WARM_S, MOST_HEADS = 300.0, 1024


class Warming:
    """Warms one engine while fewer than `below` turns run."""

    def __init__(self, engine: Engine, running: Running, metrics: Metrics, voices: Voices, *, below: int) -> None:
        self._engine = engine
        self._voices = voices
        self._running = running
        self._metrics = metrics
        self._below = below
        self._places = anyio.CapacityLimiter(MOST_WARMING)
        self._heads: OrderedDict[bytes, float] = OrderedDict()

    def has_room(self) -> bool:
        """Whether so few turns run that something may be read ahead; that it wasn't is counted."""
        if self._running.count < self._below:
            return True
        self._metrics.prewarms.labels("busy").inc()
        return False

    async def warm(self, token_ids: list[int], voice: str = "", known: int = 0) -> None:
        """Read a prompt's beginning as `voice` reads it, or drop it under load.

        Of its tokens the first `known` were read before. Cancelled, it leaves the engine to who comes.
        """
        async with self._places:
            if not self.has_room():
                return
            outcome = "overtaken"
            try:
                outcome = await self._prefill(token_ids, voice, known)
            finally:
                self._metrics.prewarms.labels(outcome).inc()

    async def _prefill(self, token_ids: list[int], voice: str, known: int) -> str:
        if len(token_ids) >= self._engine.max_model_len:
            return "too_long"
        try:
            adapter = await self._voices.find(voice)
            computed = await self._engine.prefill(token_ids, request_id=new_id("prewarm"), adapter=adapter, known=known)
        except (ApiError, EngineError, InvalidRequest) as error:
            logger.warning("a prompt wasn't read ahead of its turn: %s", error)
            return "failed"
        self._metrics.prewarmed_tokens.inc(computed)
        logger.debug("read %d tokens ahead, %d of them anew", len(token_ids), computed)
        return "done"

    def note(self, head: Sequence[Turn], voice: str = "") -> bool:
        """Note that a prompt with this head is read by `voice`. Returns whether one was lately."""
        ids = array.array("I", chain.from_iterable(turn.token_ids for turn in head))
        digest = blake2b(ids.tobytes() + voice.encode(), digest_size=16).digest()
        now = time.monotonic()
        read = self._heads.pop(digest, None)
        self._heads[digest] = now
        if len(self._heads) > MOST_HEADS:
            self._heads.popitem(last=False)
        return read is not None and now - read < WARM_S
