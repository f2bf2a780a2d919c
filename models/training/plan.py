"""Which rows make which batch, in which order: rows of like length together, so that little is padding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from torch.utils.data import Sampler

MULTIPLE = 32
_WINDOW = 4096

Batches = list[list[int]]


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a plan, of one phase: its name, and the number of batches up to its end."""

    name: str
    end: int


class BatchPlan(Sampler[list[int]]):
    """Batches of row numbers, the same ones in the same order whenever it is read: so a stopped run can go on.

    `processes` divides the number of batches, so that none of them waits for a batch that never comes.
    """

    def __init__(self, parts: Sequence[tuple[str, Batches]], processes: int = 1) -> None:
        self._batches = [batch for _, batches in parts for batch in batches]
        del self._batches[len(self._batches) - len(self._batches) % processes :]
        self.parts: list[Part] = []
        for name, batches in parts:
            before = self.parts[-1].end if self.parts else 0
            self.parts.append(Part(name, before + len(batches)))

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

    def part_at(self, batch: int) -> str:
        """The name of the part that holds the `batch`th, counted from one."""
        return next((part.name for part in self.parts if batch <= part.end), self.parts[-1].name)


def group_by_length(lengths: Sequence[int], batch_tokens: int, *, first: int, seed: int | str) -> Batches:
    """Every row once, in batches of at most `batch_tokens` with padding; rows are numbered from `first`."""
    random = Random(seed)
    order = list(range(len(lengths)))
    random.shuffle(order)
    grouped: Batches = []
    for start in range(0, len(order), _WINDOW):
        window = sorted(order[start : start + _WINDOW], key=lambda index: lengths[index])
        batches = _split(window, [padded(lengths[index]) for index in window], batch_tokens)
        random.shuffle(batches)
        grouped += batches
    return [[first + index for index in batch] for batch in grouped]


def strew(batches: Batches, strewn: Batches, share: float) -> Batches:
    """`batches` with one of `strewn` before every so many of them."""
    every = max(1, round(1 / share))
    mixed: Batches = []
    for index, batch in enumerate(batches):
        if index % every == 0:
            mixed.append(strewn[index // every % len(strewn)])
        mixed.append(batch)
    return mixed


def padded(length: int) -> int:
    """The length that a batch is padded to: few lengths, so that a compiled network is compiled seldom."""
    return -(-length // MULTIPLE) * MULTIPLE


def _split(order: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> Batches:
    """`order`, whose `lengths` rise, cut into batches of at most `batch_tokens` with padding."""
    batches: Batches = [[]]
    for index, length in zip(order, lengths, strict=True):
        if batches[-1] and (len(batches[-1]) + 1) * length > batch_tokens:
            batches.append([])
        batches[-1].append(index)
    return batches
