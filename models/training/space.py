"""Whether what a run will write fits on the disk: told before hours are spent, not after."""

import shutil
from pathlib import Path

from transformers import PreTrainedModel

from models.training.recipe import Recipe, RecipeError
from models.training.trainer import KEPT

# Bytes a trained parameter: float32 and two moments in a checkpoint, bf16 in the model; and for tokenizer and log.
_CHECKPOINT, _EXPORT, _REST = 12, 2, 64 << 20


def needed_bytes(recipe: Recipe, network: PreTrainedModel) -> tuple[int, int]:
    """What the run's folder and the output will hold, at most."""
    size = network.num_parameters()
    trained = size if recipe.lora is None else _adapter_parameters(recipe.lora.rank, network)
    written = size if recipe.lora is None or recipe.lora.merge else 2 * trained
    # One more than is kept: an old checkpoint goes when the new one is whole.
    return (KEPT + 1) * _CHECKPOINT * trained + _REST, _EXPORT * written + _REST


def check_space(recipe: Recipe, network: PreTrainedModel) -> None:
    """Raises RecipeError where the disk is too full."""
    run, output = needed_bytes(recipe, network)
    wanted: dict[int, tuple[Path, int]] = {}
    for path, size in ((recipe.folder, run), (recipe.output, output)):
        there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
        device = there.stat().st_dev
        wanted[device] = (there, wanted.get(device, (there, 0))[1] + size)
    for there, size in wanted.values():
        if (free := shutil.disk_usage(there).free) < size:
            raise RecipeError(
                f"checkpoints and model take up to {size / 1e9:.1f} GB, and {there} has {free / 1e9:.1f} GB left"
            )


def _adapter_parameters(rank: int, network: PreTrainedModel) -> int:
    shapes = [weight.shape for name, weight in network.named_parameters() if "layers" in name and weight.dim() == 2]
    return sum(rank * sum(shape) for shape in shapes)
