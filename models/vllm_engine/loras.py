"""The adapters that vLLM knows: each has one number, for good."""

import logging
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from models.empty_adapter import write_empty_adapter
from models.engine import Adapter, EngineDeadError, EngineError, Frame
from models.vllm_engine.sampling import Sampling

if TYPE_CHECKING:
    from vllm.lora.request import LoRARequest
    from vllm.v1.engine.async_llm import AsyncLLM

logger = logging.getLogger(__name__)

# vLLM's own adapters, with which it warms up, have the numbers from 1 on.
FIRST_ID = 1 << 20


class Loras:
    """Adapters by name. One that was loaded stays known: where vLLM pushes it out, it reads it again itself."""

    def __init__(self, llm: "AsyncLLM", sampling: Sampling) -> None:
        self._llm = llm
        self._sampling = sampling
        self._ids = count(FIRST_ID)
        self._requests: dict[str, LoRARequest] = {}
        self._loaded: set[str] = set()
        self._empty: Adapter | None = None
        self._scratch: TemporaryDirectory[str] | None = None

    def request(self, adapter: Adapter | None) -> "LoRARequest | None":
        """What a request is to be sent with; the adapter was loaded."""
        adapter = adapter or self._empty
        return self._requests[adapter.name] if adapter else None

    async def load_empty(self, frame: Frame) -> None:
        """Have requests without an adapter go with one that changes nothing. Raises EngineError."""
        self._scratch = TemporaryDirectory(prefix="opencharacter-", ignore_cleanup_errors=True)
        empty = write_empty_adapter(Path(self._scratch.name), frame)
        await self.load(empty)
        self._empty = empty

    async def load(self, adapter: Adapter) -> None:
        """See `models.engine.Engine.load`."""
        if adapter.name in self._loaded:
            return
        # One number for each, also where loading it is broken off and begun again.
        if adapter.name not in self._requests:
            request = self._sampling.lora(adapter.name, next(self._ids), str(adapter.path))
            self._requests[adapter.name] = request
        try:
            if self._sampling.loads_beside:
                await self._llm.add_lora(self._requests[adapter.name])
        except self._sampling.dead_error as error:
            raise EngineDeadError("the inference engine has died") from error
        except Exception as error:  # vLLM raises whatever its worker met
            logger.warning("the adapter %s couldn't be loaded: %s", adapter.name, error)
            raise EngineError("the engine couldn't load it; the server's log says why") from error
        self._loaded.add(adapter.name)
        logger.info("loaded the adapter %s", adapter.name)

    def close(self) -> None:
        """Remove what was written for vLLM to read."""
        if self._scratch is not None:
            self._scratch.cleanup()
