"""The two commands' set-up, with a Python that only notes: made once, made anew where a GPU came or went."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

# In place of Python: notes how it is called, and makes an environment of itself.
PYTHON = """#!/bin/sh
echo "$*" >> calls
if [ "$2" = venv ]; then mkdir -p .venv/bin && cp "$0" .venv/bin/python; fi
"""


class Checkout:
    """A folder with the Makefile and its requirements, on a machine with or without a GPU."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "Makefile").symlink_to(ROOT / "Makefile")
        (folder / "requirements").symlink_to(ROOT / "requirements")
        (folder / "bin").mkdir()
        self._write("python3", PYTHON)

    def _write(self, name: str, script: str) -> None:
        (self.folder / "bin" / name).write_text(script)
        (self.folder / "bin" / name).chmod(0o755)

    def serve(self, *, gpu: bool) -> list[str]:
        """`make serve`; returns how Python was called, from the making of the environment on."""
        self._write("nvidia-smi", f"#!/bin/sh\nexit {0 if gpu else 9}\n")
        calls = self.folder / "calls"
        calls.unlink(missing_ok=True)
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        environment.pop("MAKEFLAGS", None)  # of the make that runs the tests
        subprocess.run(["make", "serve"], cwd=self.folder, env=environment, check=True, capture_output=True, timeout=60)
        return [line for line in calls.read_text().splitlines() if not line.startswith("-c")]

    def stamps(self) -> set[str]:
        return {path.name for path in (self.folder / ".venv").glob(".*-*")}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize(("gpu", "kind", "other"), [(False, "cpu", "cuda"), (True, "cuda", "cpu")])
def test_serve_installs_what_the_machine_needs_once(checkout: Checkout, gpu: bool, kind: str, other: str) -> None:
    made, *installed, served = checkout.serve(gpu=gpu)
    assert made == "-m venv .venv"
    assert any(call.endswith(f"-r requirements/{kind}.txt") for call in installed)
    assert not any(f"requirements/{other}" in call for call in installed)
    assert served == "-m app serve"
    assert checkout.serve(gpu=gpu) == ["-m app serve"]


@pytest.mark.parametrize("gained", [True, False])
def test_environment_is_made_anew_where_a_gpu_came_or_went(checkout: Checkout, gained: bool) -> None:
    checkout.serve(gpu=not gained)
    leftover = checkout.folder / ".venv" / "torch-of-the-other-kind"
    leftover.touch()
    assert checkout.serve(gpu=gained)[0] == "-m venv .venv"
    assert not leftover.exists()
    assert checkout.stamps() == ({".torch-cuda", ".serve-cuda"} if gained else {".torch-cpu", ".serve-cpu"})
    assert checkout.serve(gpu=gained) == ["-m app serve"]


def test_environment_of_both_kinds_is_made_anew(checkout: Checkout) -> None:
    checkout.serve(gpu=False)
    for stamp in (".torch-cuda", ".serve-cuda"):
        (checkout.folder / ".venv" / stamp).touch()
    for gpu in (True, False):
        assert checkout.serve(gpu=gpu)[0] == "-m venv .venv"
        assert len(checkout.stamps()) == 2
