"""A trained checkpoint as what vLLM loads: `python -m models.training.export RECIPE.yaml`.

Writes a model folder (bf16 safetensors, tokenizer, chat template, every token that ends a reply), LoRA merged into the
base; or an adapter folder, where the recipe keeps it apart. Training does this itself; after training in several
processes, or of a run that was stopped early, it is done by this command.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from pydantic import ValidationError
from rich.console import Console
from transformers import AutoModelForCausalLM, PreTrainedModel

from models.training.base import Base, open_base
from models.training.checkpoints import last_checkpoint, step_of
from models.training.curve import draw_curve
from models.training.journal import read_points
from models.training.network import save_network
from models.training.recipe import Recipe, RecipeError, load_recipe

JOURNAL = "loss.jsonl"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def export(recipe: Recipe, base: Base, checkpoint: Path) -> None:
    """Write the recipe's output from a checkpoint, each file whole or not at all, with the course of the loss."""
    recipe.output.mkdir(parents=True, exist_ok=True)
    part = recipe.folder / "export.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    if recipe.lora and not recipe.lora.merge:
        for name in ADAPTER_FILES:
            shutil.copyfile(checkpoint / name, part / name)
    else:
        save_network(load_trained(recipe, checkpoint), base.tokenizer, part, base.renderer.stop_token_ids)
    journal = recipe.folder / JOURNAL
    if journal.exists():
        shutil.copyfile(journal, part / JOURNAL)
        draw_curve(read_points(journal), part / "loss.png")
    for path in sorted(part.iterdir(), key=lambda path: path.suffix == ".safetensors"):
        _move(path, recipe.output / path.name)
    part.rmdir()


def load_trained(recipe: Recipe, checkpoint: Path) -> PreTrainedModel:
    """The checkpoint's network on the CPU. A LoRA is added to the base in float32, and rounded once, when it is saved.

    (Sixteen bits are too few to add small numbers to large ones: of an 8B that takes 32 GB of memory.)
    """
    if recipe.lora is None:
        trained: PreTrainedModel = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16)
        return trained
    network = AutoModelForCausalLM.from_pretrained(str(recipe.base), dtype=torch.float32)
    merged: PreTrainedModel = PeftModel.from_pretrained(network, checkpoint).merge_and_unload()
    return merged


def _move(path: Path, target: Path) -> None:
    """To another disk, too, and even then whole."""
    beside = target.with_name(f".{target.name}.part")
    shutil.move(path, beside)
    beside.replace(target)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--base", help="go on from this model instead of the recipe's")
    parser.add_argument("--output", type=Path, help="write there instead of where the recipe says")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        recipe = load_recipe(options.recipe).with_paths(options.base, options.output)
        checkpoint = last_checkpoint(recipe.folder)
        if checkpoint is None:
            raise RecipeError(f"{recipe.folder} has no whole checkpoint: train first")
        export(recipe, open_base(recipe), checkpoint)
    except (RecipeError, ValidationError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        return 2
    console.print(f"{recipe.output} is written, from step {step_of(checkpoint)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
