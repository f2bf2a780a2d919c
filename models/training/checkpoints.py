"""Where a run that was stopped goes on, and whether it is the same run at all."""

import json
import shutil
from pathlib import Path
from typing import Any

from models.training.recipe import Recipe, RecipeError

_NAME = "run.json"
_STATE = "trainer_state.json"
# What may change between two starts of one run: where it ends up, and how often it is saved.
_FREE = {"output", "run", "save_steps", "compile"}


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint: its state is written last, so one without was being written when the run ended."""
    found = [path for path in folder.glob("checkpoint-*") if _step(path) is not None]
    return max(found, key=lambda path: _step(path) or 0, default=None)


def step_of(checkpoint: Path) -> int:
    """The step that a whole checkpoint was written at."""
    step = _step(checkpoint)
    assert step is not None
    return step


def claim_run(recipe: Recipe, digest: str) -> None:
    """Note whose checkpoints these are. Raises RecipeError where they are another recipe's, or of other data."""
    path = recipe.folder / _NAME
    ours: dict[str, Any] = {"recipe": recipe.model_dump(mode="json", exclude=_FREE), "data": digest}
    if last_checkpoint(recipe.folder) and path.exists():
        theirs = json.loads(path.read_bytes())
        changed = [name for name in ours["recipe"] if theirs["recipe"].get(name) != ours["recipe"][name]]
        changed += ["data"] if theirs["data"] != digest and not changed else []
        if changed:
            raise RecipeError(
                f"{recipe.folder} holds a run of another recipe ({', '.join(changed)} changed): "
                "--restart throws it away, and `run` names another folder"
            )
    path.write_text(json.dumps(ours))


def forget_run(recipe: Recipe) -> None:
    """Remove what an earlier run has left."""
    shutil.rmtree(recipe.folder, ignore_errors=True)


def _step(checkpoint: Path) -> int | None:
    try:
        return int(json.loads((checkpoint / _STATE).read_bytes())["global_step"])
    except (OSError, ValueError, KeyError):
        return None
