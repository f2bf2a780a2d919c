"""Random tokens said again and again: what heads that copy are honed on."""

from collections.abc import Iterator

import torch

from models.training.rows import Example


def copying_examples(steps: int, batch_tokens: int, length: int, random_ids: range, seed: int) -> Iterator[Example]:
    """The rows of `steps` batches of what is drawn from `random_ids`; labels from the second time on.

    Each row repeats at a distance of its own, from a sixteenth of its length to a half: at one distance for all,
    position alone would tell what comes next, and no head had to look for what was said before.
    """
    rows = rows_in_batch(batch_tokens, length)
    places = torch.arange(length).expand(rows, -1)
    for step in range(steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        distances = torch.randint(length // 16, length // 2 + 1, (rows, 1), generator=generator).clamp(min=1)
        tokens = torch.randint(random_ids.start, random_ids.stop, (rows, length), generator=generator)
        ids, is_copy = tokens.gather(1, places % distances), places >= distances
        for row in range(rows):
            yield Example(ids[row].int().numpy(), is_copy[row].numpy())


def rows_in_batch(batch_tokens: int, length: int) -> int:
    """How many such rows make a batch."""
    return max(1, batch_tokens // length)
