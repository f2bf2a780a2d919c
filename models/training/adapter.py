"""A voice of its own for one character: `python -m models.training.adapter CARD.json [DIALOGUES.jsonl]`.

Trains a LoRA from a card and its dialogues (rows of `models.synthesis.dialogues`, or bare `messages`), and writes a
folder that vLLM loads beside the base. Without dialogues, the teacher of the embedded model holds some with the card.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from characters.card import CardError, CharacterCard, slug
from characters.formats.reading import read_card
from pydantic import ValidationError
from rich.console import Console

from models.synthesis.portrayal import hold_talks
from models.training.checkpoints import forget_run
from models.training.recipe import Recipe, RecipeError, RowsPhase, load_recipe
from models.training.rows import BadRow, parse_row
from models.training.sft import train

RECIPE = Path("models/recipes/adapter-tiny.yaml")
FOLDER = Path("build/adapters")
TALKS = 200
# The largest card that is read.
MOST_BYTES = 64 << 20


def read_character(path: Path) -> CharacterCard:
    """The card in a file of any format. Raises RecipeError."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RecipeError(f"{path} has more than {MOST_BYTES:,} bytes")
        return read_card(path.read_bytes()).card
    except (OSError, CardError, ValidationError) as error:
        raise RecipeError(f"{path} is no card: {error}") from error


def own_rows(card: CharacterCard, dialogues: Path) -> Iterator[dict[str, Any]]:
    """The dialogues with this character; bare messages count as its own. Raises RecipeError where there are none."""
    found = 0
    try:
        lines = [line for line in dialogues.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise RecipeError(f"{dialogues}: {error.strerror}") from error
    for line in lines:
        try:
            row = parse_row(line)
        except BadRow:
            continue
        if "messages" not in row or _name(row.get("card")) not in (None, card.data.name):
            continue
        found += 1
        yield {**row, "card": card.to_v3()}
    if not found:
        raise RecipeError(f"{dialogues} has no dialogue with {card.data.name} among its {len(lines)} lines")


def build_recipe(recipe: Recipe, card: CharacterCard, dialogues: Path | None, output: Path | None) -> Recipe:
    """The recipe for this character, with its dialogues written into the run's folder. Raises RecipeError."""
    if recipe.lora is None or recipe.lora.merge:
        raise RecipeError("an adapter's recipe has a `lora` with `merge: false`")
    output = output or FOLDER / slug(card.name)
    chosen = recipe.with_paths(None, output)
    rows = own_rows(card, dialogues) if dialogues else hold_talks(card, TALKS, recipe.seed)
    data = chosen.folder / "dialogues.jsonl"
    _write(data, b"".join(orjson.dumps(row) + b"\n" for row in rows))
    phases = [
        phase.model_copy(update={"data": [data]}) if isinstance(phase, RowsPhase) else phase for phase in chosen.phases
    ]
    return chosen.model_copy(update={"phases": phases})


def _name(card: Any) -> str | None:  # whatever stands in a file
    data = card.get("data", card) if isinstance(card, dict) else {}
    return data.get("name") if isinstance(data, dict) else None


def _write(path: Path, text: bytes) -> None:
    """Leave a file alone that says the same already, so that a run goes on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != text:
        path.write_bytes(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("card", type=Path, help="a card of any format")
    parser.add_argument("dialogues", type=Path, nargs="?", help="JSONL; those of other characters are left out")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--base", help="train beside this model instead of the recipe's")
    parser.add_argument("--output", type=Path, help=f"the adapter's folder (default: {FOLDER}/ and the name)")
    parser.add_argument("--restart", action="store_true", help="throw away what an earlier run has left")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        card = read_character(options.card)
        recipe = load_recipe(options.recipe).with_paths(options.base, options.output or FOLDER / slug(card.name))
        if options.restart:
            forget_run(recipe)
        train(build_recipe(recipe, card, options.dialogues, recipe.output), console)
    except (RecipeError, ValidationError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
