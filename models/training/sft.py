"""Supervised fine-tuning from a recipe: `python -m models.training.sft models/recipes/llama-3-8b-lora.yaml`.

Renders the rows as serving does, trains on the character's tokens alone (all weights, or a LoRA beside them), and
writes a folder that vLLM loads. Stopped or killed, the same command goes on from the last checkpoint. On several GPUs:
`accelerate launch -m models.training.sft …`, then `python -m models.training.export …`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from pydantic import ValidationError
from rich.console import Console
from transformers import PreTrainedModel, set_seed

from models.synthesis.pipeline.licences import PURPOSES, warn_of_licences
from models.synthesis.pipeline.origins import find_origins
from models.synthesis.pipeline.sources import Source
from models.synthesis.teachers.teacher import Stop
from models.training.base import Base, load_network, open_base
from models.training.checkpoints import claim_run, forget_run, last_checkpoint, step_of
from models.training.corpus import Corpus, load_corpus
from models.training.curriculum import plan_batches
from models.training.export import JOURNAL, export
from models.training.journal import Journal
from models.training.recipe import CopyingPhase, Recipe, RecipeError, RowsPhase, load_recipe
from models.training.space import check_space
from models.training.trainer import build_trainer


def train(recipe: Recipe, console: Console) -> None:
    """Run a recipe to its end, from wherever it was stopped, and write what it makes. Raises RecipeError."""
    state = PartialState(cpu=not torch.cuda.is_available())
    console.quiet = not state.is_main_process
    if state.num_processes == 1 and (gpus := torch.cuda.device_count()) > 1:
        raise RecipeError(
            f"there are {gpus} GPUs and one process: start it by `accelerate launch -m models.training.sft`, or let "
            "it see one GPU alone, by CUDA_VISIBLE_DEVICES=0"
        )
    base = open_base(recipe)
    with state.main_process_first():  # the others find the rows rendered
        corpus = _load_corpus(recipe, base, console)
        claim_run(recipe, corpus.digest)
    set_seed(recipe.seed)
    network = load_network(recipe, base)
    check_space(recipe, network)
    console.print(f"{network.num_parameters() / 1e6:,.2f} M parameters, {corpus.rows.num_rows:,} rows")
    _train(recipe, base, corpus, network, console)
    if state.num_processes > 1:
        console.print("trained; now python -m models.training.export writes the model")
        return
    checkpoint = last_checkpoint(recipe.folder)
    assert checkpoint is not None
    export(recipe, base, checkpoint)
    console.print(f"{recipe.output} is written")


def _load_corpus(recipe: Recipe, base: Base, console: Console) -> Corpus:
    copies = any(isinstance(phase, CopyingPhase) or phase.copying for phase in recipe.phases)
    corpus = load_corpus(recipe, base.renderer, base.random_ids() if copies else range(0))
    for reason, count in corpus.dropped.most_common():
        console.print(f"left out: {count:,} rows, {reason}", style="yellow", highlight=False)
    return corpus


def _train(recipe: Recipe, base: Base, corpus: Corpus, network: PreTrainedModel, console: Console) -> None:
    processes = PartialState().num_processes
    plan = plan_batches(recipe, corpus, processes)
    checkpoint = last_checkpoint(recipe.folder)
    if checkpoint and plan and step_of(checkpoint) * recipe.schedule.accumulate * processes >= len(plan):
        return
    if recipe.compile:
        for layer in network.model.layers:
            layer.compile(dynamic=True)
    a_step = recipe.schedule.accumulate * processes
    journal = Journal(recipe.folder / JOURNAL, lambda step: plan.part_at(step * a_step) if plan else "1 rows", console)
    trainer = build_trainer(recipe, network, base.tokenizer, corpus, plan, [journal])
    journal.tokens = lambda: trainer.tokens
    if checkpoint:
        console.print(f"going on from step {step_of(checkpoint)}")
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--base", help="go on from this model instead of the recipe's")
    parser.add_argument("--output", type=Path, help="write the model there instead of where the recipe says")
    parser.add_argument("--purpose", choices=PURPOSES, default=PURPOSES[0], help="what the model is trained for")
    parser.add_argument("--restart", action="store_true", help="throw away what an earlier run has left")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        recipe = load_recipe(options.recipe).with_paths(options.base, options.output)
        if options.restart:
            forget_run(recipe)
        if PartialState(cpu=not torch.cuda.is_available()).is_main_process:
            data = [path for phase in recipe.phases if isinstance(phase, RowsPhase) for path in phase.data]
            origins = (name for path in data for name in find_origins(Source(str(path))))
            warn_of_licences(console, origins, options.purpose)
        train(recipe, console)
    except (RecipeError, Stop, ValidationError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        return 2
    except OSError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
