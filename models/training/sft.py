"""Supervised fine-tuning from a recipe: `python -m models.training.sft models/recipes/tiny.yaml`.

Learns a vocabulary from the data and builds the network, or loads a base; runs the phases and writes a model folder
with the course of the loss beside it. Data is written first, by `python -m models.synthesis.personas` and `…smalltalk`.
"""

import argparse
import csv
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import track
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from models.renderer import Llama3Renderer
from models.training.batches import CopyingBatches, Curriculum, RowBatches
from models.training.curve import draw_curve
from models.training.loop import Point, run
from models.training.network import build_network, load_network, save_network
from models.training.recipe import CopyingPhase, Phase, Recipe, RowsPhase, Vocabulary, load_recipe
from models.training.rows import Example, build_example, read_rows, row_texts
from models.training.vocabulary import PAD, SPECIAL_TOKENS, learn_vocabulary, special_id

# Random tokens between rows are said again at distances at which a card is read.
_STREWN_LENGTH = 1024


def train(recipe: Recipe, console: Console) -> list[Point]:
    """Run a recipe and write its model. Returns the course of the loss."""
    set_seed(recipe.seed)
    network, tokenizer = _begin(recipe)
    console.print(f"{network.num_parameters() / 1e6:.2f} M parameters, {len(tokenizer)} tokens")
    if recipe.compile:
        for layer in network.model.layers:
            layer.compile(dynamic=True)
    curriculum = Curriculum()
    for number, phase in enumerate(recipe.phases, 1):
        _append_phase(curriculum, f"{number} {phase.kind}", phase, tokenizer, recipe.seed + number)
        console.print(f"phase {number}, {phase.kind}: to step {len(curriculum)}")
    with tempfile.TemporaryDirectory() as scratch:
        points = run(
            network,
            curriculum,
            recipe.schedule,
            seed=recipe.seed,
            folder=Path(scratch),
            save=lambda: save_network(network, tokenizer, recipe.output),
            save_steps=recipe.save_steps,
        )
    _write(recipe, network, tokenizer, points)
    console.print(f"{recipe.output} is written; the last loss was {points[-1].loss:.3f}")
    return points


def _begin(recipe: Recipe) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """The network as training finds it, and its tokenizer."""
    if recipe.base is not None:
        return load_network(recipe.base)
    assert recipe.shape is not None
    assert recipe.vocabulary is not None
    tokenizer = _learn_vocabulary(recipe, recipe.vocabulary, recipe.shape.max_position_embeddings)
    return build_network(recipe.shape, tokenizer), tokenizer


def _learn_vocabulary(recipe: Recipe, vocabulary: Vocabulary, max_length: int) -> PreTrainedTokenizerFast:
    data = next(phase.data for phase in reversed(recipe.phases) if isinstance(phase, RowsPhase))
    return learn_vocabulary(row_texts(islice(read_rows(data), vocabulary.sample_rows)), vocabulary.size, max_length)


def _append_phase(
    curriculum: Curriculum, name: str, phase: Phase, tokenizer: PreTrainedTokenizerFast, seed: int
) -> None:
    first_id, vocabulary = len(SPECIAL_TOKENS), len(tokenizer)
    if isinstance(phase, CopyingPhase):
        copying = CopyingBatches(
            phase.steps,
            phase.batch_tokens,
            phase.length,
            first_id=first_id,
            vocabulary=vocabulary,
            seed=seed,
        )
        return curriculum.append(name, copying)
    pad_id = special_id(tokenizer, PAD)
    examples = _read_examples(phase, tokenizer)
    batches = RowBatches(examples, phase.batch_tokens, everything=phase.loss == "everything", pad_id=pad_id, seed=seed)
    steps = len(batches)
    strewn = CopyingBatches(
        steps, phase.batch_tokens, _STREWN_LENGTH, first_id=first_id, vocabulary=vocabulary, seed=seed
    )
    curriculum.append(name, batches, phase.copying, strewn)
    return None


def _read_examples(phase: RowsPhase, tokenizer: PreTrainedTokenizerFast) -> list[Example]:
    renderer = Llama3Renderer(tokenizer.backend_tokenizer, "")
    examples: list[Example] = []
    tokens = 0
    for row in track(read_rows(phase.data), "tokenizing", total=None):
        example = build_example(renderer, row)
        if len(example.token_ids) <= phase.max_length:
            examples.append(example)
            tokens += len(example.token_ids)
        if phase.max_tokens and tokens >= phase.max_tokens:
            break
    return examples


def _write(
    recipe: Recipe, network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, points: Sequence[Point]
) -> None:
    recipe.output.mkdir(parents=True, exist_ok=True)
    save_network(network, tokenizer, recipe.output)
    with (recipe.output / "loss.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["phase", "step", "loss"])
        writer.writerows((point.phase, point.step, f"{point.loss:.4f}") for point in points)
    draw_curve(points, recipe.output / "loss.png")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--output", type=Path, help="write the model there instead of where the recipe says")
    options = parser.parse_args(arguments)
    recipe = load_recipe(options.recipe)
    if options.output:
        recipe = recipe.model_copy(update={"output": options.output})
    train(recipe, Console())


if __name__ == "__main__":
    main()
