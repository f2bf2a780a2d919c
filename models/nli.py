"""Whether one text follows from another, by a small classifier of natural language inference.

The only file that loads one, through transformers, and only when it is configured.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Pairs that are read together.
BATCH = 32
# More of a pair is cut off: as much as such models were trained on.
MOST_TOKENS = 512
# A text in characters, before it is tokenized.
MOST_CHARACTERS = 4000
LABELS = ("entail", "neutral", "contradict")

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a hypothesis follows from a premise: three probabilities that add up to one."""

    entailed: float
    neutral: float
    contradicted: float

    @property
    def relevance(self) -> float:
        """How likely the premise is about it at all, where nobody else knows."""
        return 1.0 - self.neutral


class NliError(Exception):
    """There are no verdicts: the model can't be loaded, isn't of that kind, or fails."""


class Nli(Protocol):
    """One model that says of pairs (premise, hypothesis) whether the second follows."""

    async def judge(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """A verdict for each pair, in their order. Raises NliError."""

    async def close(self) -> None:
        """Free the model."""


class LocalNli:
    """See `Nli`: a sequence classifier on the CPU, in a thread of its own. Made by `open_nli`."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        places: Sequence[int],
        thread: ThreadPoolExecutor,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._places = places
        self._thread = thread

    async def judge(self, pairs: Sequence[Pair]) -> list[Verdict]:
        loop, verdicts = asyncio.get_running_loop(), []
        # Batch by batch, so that others get their turn in between.
        for start in range(0, len(pairs), BATCH):
            batch = pairs[start : start + BATCH]
            try:
                verdicts += await loop.run_in_executor(self._thread, self._read, batch)
            except Exception as error:
                raise NliError(f"the inference of what follows from what failed: {error}") from error
        return verdicts

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self, pairs: Sequence[Pair]) -> list[Verdict]:
        import torch

        premises, hypotheses = ([text[:MOST_CHARACTERS] for text in texts] for texts in zip(*pairs, strict=True))
        inputs = self._tokenizer(
            premises, hypotheses, truncation=True, max_length=MOST_TOKENS, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            shares = self._model(**inputs).logits.float().softmax(-1)[:, list(self._places)].tolist()
        return [Verdict(*row) for row in shares]


async def open_nli(model: str) -> LocalNli:
    """Load a classifier, a folder or a hub id, whose labels are entailment, neutral and contradiction.

    Raises NliError.
    """
    thread = ThreadPoolExecutor(1, "nli")
    try:
        loaded, tokenizer = await asyncio.get_running_loop().run_in_executor(thread, _load, model)
        return LocalNli(loaded, tokenizer, find_places(loaded.config.id2label), thread)
    except (ImportError, OSError, ValueError, NliError) as error:
        thread.shutdown(wait=False)
        raise NliError(f"the model {model} can't judge what follows from what: {error}") from error


def find_places(labels: dict[int, str]) -> list[int]:
    """Where a model's outputs have entailment, neutral and contradiction. Raises NliError where one isn't there."""
    named = {place: str(label).lower() for place, label in labels.items()}
    places = [[place for place, name in named.items() if name.startswith(label)] for label in LABELS]
    if any(len(found) != 1 for found in places) or len(labels) != len(LABELS):
        told = ", ".join(sorted(map(str, labels.values())))
        raise NliError(f"its labels are {told[:200]}; entailment, neutral and contradiction are needed")
    return [found[0] for found in places]


def _load(model: str) -> tuple[Any, Any]:  # transformers' own classes, which differ by model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    return AutoModelForSequenceClassification.from_pretrained(model).eval(), tokenizer
