"""The script that makes the embedded model anew, with a Python that only notes: in order, each step once, and what came
out takes the old one's place or doesn't."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from models.renderer import Renderer
from models.synthesis.personas import imagine_characters
from models.synthesis.smalltalk import DRILL_SHARE, LONGEST, build_rows
from models.training.recipe import RowsPhase, load_recipe
from models.training.rows import build_example
from tests.conftest import ROOT

# In place of Python: notes how it is called, writes what the step would, dies or fails where it is told to.
PYTHON = """#!/bin/sh
shift
echo "$*" >> calls
case "${FAILS:+$*}" in *"${FAILS:-nothing}"*) exit 1 ;; esac
case "${DIES:+$*}" in *"${DIES:-nothing}"*) kill -9 $PPID && exit 1 ;; esac
case $1 in
*.sft)
    out=$(sed -n 's|^output: ||p' "$2")
    mkdir -p "$out" && echo new > "$out/model.safetensors"
    ;;
*)
    while [ $# -gt 1 ]; do
        case $1 in --out | --json) echo made > "$2" ;; esac
        shift
    done ;;
esac
"""


class Checkout:
    """A folder with the recipes and a model that is shipped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "models" / "tiny").mkdir(parents=True)
        (folder / "models" / "recipes").symlink_to(ROOT / "models" / "recipes")
        (folder / "bin").mkdir()
        (folder / "bin" / "python").write_text(PYTHON)
        (folder / "bin" / "python").chmod(0o755)
        for name in ("model.safetensors", "README.md"):
            (folder / "models" / "tiny" / name).write_text("old\n")

    def make(self, dies: str = "", fails: str = "") -> int:
        """Run the script; returns its exit status."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "DIES": dies, "FAILS": fails}
        return subprocess.run(["sh", "models/recipes/tiny.sh"], cwd=self.folder, env=environment, timeout=60).returncode

    def calls(self) -> list[str]:
        """What Python was called for since the last time, without the packages' names."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines()
        path.unlink()
        return [line.split()[0].rpartition(".")[2] + " " + " ".join(line.split()[1:]) for line in lines]

    def shipped(self, name: str) -> str:
        return (self.folder / "models" / "tiny" / name).read_text().strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_whole_run_is_in_order_and_ships_what_comes_out(checkout: Checkout) -> None:
    assert checkout.make() == 0
    calls = checkout.calls()
    a_stage = ["personas", "smalltalk", "filter", "sft"]
    measured = ["recall", "evaluation"] * 2
    assert [call.split()[0] for call in calls] == [*a_stage, *a_stage, *a_stage[:-1], *a_stage, *measured, "succession"]
    assert calls[-1] == "succession build/tiny/third build/tiny/shipped"
    assert (checkout.shipped("model.safetensors"), checkout.shipped("README.md")) == ("new", "old")


@pytest.mark.parametrize("fails", ["personas-2", "filter", "tiny-longer", "succession"])
def test_a_step_that_fails_ends_it(checkout: Checkout, fails: str) -> None:
    assert checkout.make(fails=fails) != 0
    assert fails in checkout.calls()[-1]
    assert checkout.shipped("model.safetensors") == "old"


@pytest.mark.parametrize("dies", ["smalltalk build/tiny/personas-2", "recall build/tiny/third", "succession"])
def test_a_run_that_was_killed_goes_on_where_it_was(checkout: Checkout, dies: str) -> None:
    assert checkout.make(dies=dies) == -signal.SIGKILL
    before = checkout.calls()
    assert checkout.make() == 0
    after = checkout.calls()
    trained = [call for call in [*before, *after] if call.startswith("sft")]
    assert trained == [f"sft models/recipes/{name}.yaml" for name in ("tiny", "tiny-longer", "tiny-served")]
    assert checkout.shipped("model.safetensors") == "new"


def test_each_stage_goes_on_from_the_one_before() -> None:
    recipes = [ROOT / "models" / "recipes" / f"{name}.yaml" for name in ("tiny", "tiny-longer", "tiny-served")]
    outputs = [_value(recipe, "output") for recipe in recipes]
    assert [_value(recipe, "base") for recipe in recipes[1:]] == outputs[:-1]
    data = [path.name for recipe in recipes for phase in _rows_phases(recipe) for path in phase.data]
    assert data == [f"train-{number}.jsonl" for number in (1, 2, 3, 4)]


def test_every_stage_meets_casts_and_makes_rows_enough(checkout: Checkout, renderer: Renderer) -> None:
    checkout.make()
    calls = [call.split() for call in checkout.calls()]
    counts = {_option(call, "--seed"): int(_option(call, "--count")) for call in calls if call[0] == "personas"}
    talks = {_option(call, "--seed"): call for call in calls if call[0] == "smalltalk"}
    phases = [phase for call in calls if call[0] == "sft" for phase in _rows_phases(ROOT / call[1])]
    assert [phase.data[0].stem for phase in phases] == [f"train-{seed}" for seed in talks]
    for (seed, call), phase in zip(talks.items(), phases, strict=True):
        shares = {name: float(_option(call, f"--{name}", "0")) for name in ("longer", "scenes", "impersonated")}
        drills, longest = (
            float(_option(call, "--drills", str(DRILL_SHARE))),
            int(_option(call, "--longest", str(LONGEST))),
        )
        sample = list(build_rows(imagine_characters(300, 1), 1, **shares, drills=drills, longest=longest))
        lengths = [len(build_example(renderer, row).token_ids) for row in sample]
        read = [length for length in lengths if length <= phase.max_length]
        assert sum("stage" in row for row in sample) > 0.04 * len(sample)
        assert phase.max_tokens
        assert sum(read) / 300 * counts[seed] > phase.max_tokens
        assert len(read) > 0.98 * len(lengths)


def test_what_is_read_far_is_long() -> None:
    rows = build_rows(imagine_characters(40, 2), 2, drills=0.1, longest=25_000)
    said = [sum(len(message["content"]) for message in row["messages"]) for row in rows if "messages" in row]
    assert sum(length > 6000 for length in said) > 0.4 * len(said)


def _rows_phases(recipe: Path) -> list[RowsPhase]:
    return [phase for phase in load_recipe(recipe).phases if isinstance(phase, RowsPhase)]


def _option(call: list[str], name: str, default: str = "") -> str:
    return call[call.index(name) + 1] if name in call else default


def _value(recipe: Path, key: str) -> str:
    return next(line.split()[1] for line in recipe.read_text().splitlines() if line.startswith(f"{key}:"))
