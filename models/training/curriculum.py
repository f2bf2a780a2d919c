"""The batches of a recipe's phases, one phase after the other."""

from models.training.copying import rows_in_batch
from models.training.corpus import STREWN_LENGTH, Corpus
from models.training.plan import Batches, BatchPlan, group_by_length, strew
from models.training.recipe import CopyingPhase, Recipe


def plan_batches(recipe: Recipe, corpus: Corpus, processes: int = 1) -> BatchPlan | None:
    """The recipe's batches in order; None where rows are packed, which is not planned but done by TRL."""
    if recipe.packing:
        return None
    parts: list[tuple[str, Batches]] = []
    for number, phase in enumerate(recipe.phases):
        first, lengths = corpus.lengths(2 * number)
        seed = recipe.seed + number + 1
        if isinstance(phase, CopyingPhase):
            batches = _in_order(first, len(lengths), rows_in_batch(phase.batch_tokens, phase.length))
        else:
            batches = [
                batch
                for epoch in range(phase.epochs)
                for batch in group_by_length(
                    lengths, phase.batch_tokens, first=first, seed=f"{seed}/{epoch}" if epoch else seed
                )
            ]
            if phase.copying:
                first, lengths = corpus.lengths(2 * number + 1)
                strewn = _in_order(first, len(lengths), rows_in_batch(phase.batch_tokens, STREWN_LENGTH))
                batches = strew(batches, strewn, phase.copying)
        parts.append((f"{number + 1} {phase.kind}", batches))
    return BatchPlan(parts, processes)


def _in_order(first: int, count: int, size: int) -> Batches:
    return [list(range(start, min(start + size, first + count))) for start in range(first, first + count, size)]
