"""Examples grouped into batches of like length, so that little is padding; each batch is an item of a dataset."""

from collections.abc import Sequence
from random import Random

import numpy as np
import torch
from torch.utils.data import Dataset

from models.training.rows import Example

# Labels that count for nothing, as in transformers.
IGNORED = -100
_MULTIPLE = 32
_WINDOW = 4096

Batch = dict[str, torch.Tensor]


class RowBatches(Dataset[Batch]):
    """Every example once. Items are whole batches: `input_ids` and `labels`, (batch, length), padded on the right.

    Padding needs no attention mask: attention is causal, and nothing before the padding sees it.
    """

    def __init__(
        self, examples: Sequence[Example], batch_tokens: int, *, everything: bool, pad_id: int, seed: int
    ) -> None:
        self._examples = examples
        self._everything = everything
        self._pad_id = pad_id
        random = Random(seed)
        order = list(range(len(examples)))
        random.shuffle(order)
        self._batches = []
        for start in range(0, len(order), _WINDOW):
            window = sorted(order[start : start + _WINDOW], key=lambda index: len(examples[index].token_ids))
            batches = _split(window, [_padded(len(examples[index].token_ids)) for index in window], batch_tokens)
            random.shuffle(batches)
            self._batches += batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Batch:
        examples = [self._examples[number] for number in self._batches[index]]
        length = _padded(max(len(example.token_ids) for example in examples))
        ids = np.full((len(examples), length), self._pad_id, dtype=np.int64)
        labels = np.full((len(examples), length), IGNORED, dtype=np.int64)
        for row, example in enumerate(examples):
            end = len(example.token_ids)
            ids[row, :end] = example.token_ids
            labels[row, :end] = (
                example.token_ids if self._everything else np.where(example.is_reply, example.token_ids, IGNORED)
            )
        return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}


class CopyingBatches(Dataset[Batch]):
    """Random tokens said again and again; labels from the second time on. `first_id` is the first that isn't special.

    Each row repeats at a distance of its own, from a sixteenth of its length to a half: at one distance for all,
    position alone would tell what comes next, and no head had to look for what was said before.
    """

    def __init__(
        self, steps: int, batch_tokens: int, length: int, *, first_id: int, vocabulary: int, seed: int
    ) -> None:
        self._steps = steps
        self._rows = max(1, batch_tokens // length)
        self._length = length
        self._range = (first_id, vocabulary)
        self._seed = seed

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> Batch:
        if index >= self._steps:
            raise IndexError(index)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + index)
        distances = torch.randint(self._length // 16, self._length // 2 + 1, (self._rows, 1), generator=generator)
        tokens = torch.randint(*self._range, (self._rows, self._length), generator=generator)
        places = torch.arange(self._length).expand(self._rows, -1)
        ids = tokens.gather(1, places % distances)
        return {"input_ids": ids, "labels": ids.masked_fill(places < distances, IGNORED)}


class Curriculum(Dataset[Batch]):
    """Datasets of batches one after the other. Where one has a share of copying, such batches are strewn into it."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, int]] = []
        """Each part's name, and the step at which it ends."""
        self._plan: list[tuple[Dataset[Batch], int]] = []

    def append(
        self,
        name: str,
        batches: RowBatches | CopyingBatches,
        copying: float = 0.0,
        strewn: CopyingBatches | None = None,
    ) -> None:
        """Add a part."""
        every = round(1 / copying) if copying and strewn else 0
        for index in range(len(batches)):
            if every and strewn and index % every == 0:
                self._plan.append((strewn, index // every))
            self._plan.append((batches, index))
        self.ends.append((name, len(self._plan)))

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> Batch:
        batches, number = self._plan[index]
        batch: Batch = batches[number]
        return batch


def _padded(length: int) -> int:
    return -(-length // _MULTIPLE) * _MULTIPLE


def _split(order: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """`order`, whose `lengths` rise, cut into batches of at most `batch_tokens` with padding."""
    batches: list[list[int]] = [[]]
    for index, length in zip(order, lengths, strict=True):
        if batches[-1] and (len(batches[-1]) + 1) * length > batch_tokens:
            batches.append([])
        batches[-1].append(index)
    return batches
