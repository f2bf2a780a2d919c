"""The whole recipe as a user runs it, at fifty personas on the embedded model: from a persona's line to a model that is
measured."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

from models.evaluation.episodes import build_personas
from models.training.journal import read_points
from tests.conftest import ROOT, TINY, Server
from tests.synthesis_runs import Rows, dropped, read_rows, write_rows

PERSONAS = 50
TALKS: Rows = [
    {"conversations": [f"{greeting} {asked}", "I am an assistant.", "And what are you afraid of?", "Of nothing."]}
    for greeting in ("Hello.", "Good evening.", "Sorry to bother you.", "Hm.", "So.")
    for asked in ("What is your name?", "Where are you from?", "What do you do?", "Who is your friend?", "How are you?")
]
RECIPE: dict[str, Any] = {
    "base": "models/tiny",
    "seed": 1,
    "lora": {"rank": 16, "alpha": 32},
    "schedule": {"learning_rate": 2e-3, "warmup_steps": 5, "weight_decay": 0.0},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


def run(command: str, *arguments: str | Path) -> None:
    """One of the recipe's commands, in a process of its own; what it says is shown where it fails."""
    done = subprocess.run([sys.executable, "-m", command, *map(str, arguments)], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-4000:]


def asked_for(out: Path) -> int:
    """How many rows an output tells of: kept, or left out for a reason."""
    return len(read_rows(out)) + len(dropped(out))


# Four minutes were measured where the machine had four times as much to do as it could.
@pytest.mark.timeout(600)
def test_fifty_personas_become_a_model_that_is_measured(folder: Path, server: Server) -> None:
    here = ("--model", TINY, "--concurrency", "32")
    there = ("--url", f"{server.url}/v1", "--model", "tiny", "--max-model-len", "4096", "--concurrency", "32")
    lines = write_rows(folder / "personas.jsonl", [{"persona": one} for one in build_personas(PERSONAS, seed=7)])
    talks = write_rows(folder / "talks.jsonl", TALKS)
    profiles, played, rewritten, rows = (folder / f"{name}.jsonl" for name in ("profiles", "G", "R", "rows"))

    run("models.synthesis.profiles", lines, "--prompt", "served", *here, "--out", profiles)
    assert asked_for(profiles) == PERSONAS
    assert len(read_rows(profiles)) > 0.9 * PERSONAS

    play = ("models.synthesis.dialogues", profiles, "--instructions", talks, "--reply-tokens", "100", *there)
    run(*play, "--strategy", "G", "--characters", "2", "--out", played)
    assert asked_for(played) == 2 * len(TALKS)
    assert len(read_rows(played)) > 0.8 * 2 * len(TALKS)
    # So small a model repeats no user to the letter: each row is asked for, and each is told of.
    run(*play, "--strategy", "R", "--characters", "1", "--limit", "5", "--tries", "1", "--out", rewritten)
    assert asked_for(rewritten) == 5

    run("models.synthesis.filter", played, rewritten, "--out", rows)
    assert asked_for(rows) == len(read_rows(played)) + len(read_rows(rewritten))
    assert len(read_rows(rows)) > len(TALKS)

    phase = {"kind": "rows", "data": [str(rows)], "epochs": 3, "batch_tokens": 2048}
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "output": str(folder / "model"), "phases": [phase]}))
    run("models.training.sft", recipe)
    losses = [point.loss for point in read_points(folder / "model" / "loss.jsonl")]
    an_epoch = len(losses) // 3
    assert fmean(losses[-an_epoch:]) < 0.8 * fmean(losses[:an_epoch])

    measured = folder / "recall.json"
    run("models.evaluation.recall", folder / "model", "--characters", "8", "--temperature", "0", "--json", measured)
    (report,) = json.loads(measured.read_bytes())
    assert report["replies"] == 8 * 20
    assert report["profile_recall"] > 0.7
    assert report["valid_profiles"] == 1.0
    assert report["markup_leaks"] == 0
