"""Bring characters from files to a server that runs, and back, with their pictures; or have it write one.

The server reads and writes the formats; here, ZIPs of many are taken apart, so that each file in them is sent alone.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from app.commands.answers import Refusal, read_answer, write_new
from app.commands.connection import call
from app.commands.synthesis import synthesize
from app.settings import Settings
from characters.card import CardError
from characters.formats.reading import list_paths, unpack
from characters.formats.writing import KINDS

# Of a file's name, what is told to the server: its end.
MOST_NAME_CHARS = 200
# The server gives a file up after a minute, and may have others to read before.
PATIENCE_S = 300
# ZIPs inside one another that are taken apart here; what is deeper goes to the server as it is.
MOST_NESTED = 2

# Files by what they are called, each with its content or with what is wrong with it.
Unpacked = Iterator[tuple[str, bytes | Exception]]


def characters(settings: Settings, chosen: argparse.Namespace) -> int:
    """Do what was chosen: import, export or synthesize. Returns the exit status: 1 when anything failed."""
    return call(settings, chosen, ACTIONS[chosen.action], PATIENCE_S)


def _import(client: httpx.Client, console: Console, chosen: argparse.Namespace) -> int:
    failed = done = 0
    paths = list(_files(chosen.paths))
    total = len(paths)

    def grow(files: int) -> None:
        nonlocal total
        total += files - 1

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("importing", total=total)
            for path in paths:
                for name, blob in _unpack(path, grow):
                    results = _add(client, name, blob)
                    grow(len(results))
                    for result in results:
                        _tell(console, result)
                        failed += "error" in result
                        done += "error" not in result
                    progress.update(task, advance=len(results), total=total)
    finally:
        if done or failed:
            console.print(f"{done} imported, {failed} not")
    return failed


def _files(paths: list[Path]) -> Iterator[Path]:
    """The files that were named, and those in the folders that were."""
    for path in paths:
        if path.is_dir():
            yield from sorted(inside for inside in path.rglob("*") if inside.is_file())
        else:
            yield path


def _unpack(path: Path, grow: Callable[[int], None]) -> Unpacked:
    """The file, or each in it where it is a ZIP of many, of which `grow` is told how many there are."""
    try:
        whole = path.read_bytes()
    except OSError as error:
        yield str(path), Refusal(error.strerror)
    else:
        yield from _open(path.name, whole, grow)


def _open(name: str, blob: bytes, grow: Callable[[int], None], depth: int = 0) -> Unpacked:
    """The same of a file's content, ZIPs in a ZIP taken apart, too."""
    try:
        inside = list_paths(blob) if depth < MOST_NESTED else None
        if inside is None:
            yield name, blob
            return
        grow(len(inside))
        for path, content in unpack(blob, ""):
            if isinstance(content, CardError):
                yield f"{name}: {path}", content
            else:
                yield from _open(f"{name}: {path}", content, grow, depth + 1)
    except CardError as error:
        yield name, error


def _add(client: httpx.Client, name: str, blob: bytes | Exception) -> list[dict[str, Any]]:
    """What became of the file, or of each in it where it is a ZIP still, as the server tells it."""
    try:
        if isinstance(blob, Exception):
            raise Refusal(str(blob))
        body = read_answer(client.post("/characters/import", params={"name": name[-MOST_NAME_CHARS:]}, content=blob))
        results: list[dict[str, Any]] = body.get("results") or [{"error": body["error"]}]
    except Refusal as error:
        results = [{"error": {"message": str(error)}}]
    except (httpx.ReadTimeout, httpx.WriteTimeout):
        results = [{"error": {"message": f"the server took longer than {PATIENCE_S} s: it may have come in or not"}}]
    return [{**result, "file": name if len(results) == 1 else f"{name}: {result['file']}"} for result in results]


def _tell(console: Console, result: dict[str, Any]) -> None:
    if "error" in result:
        console.print(f"{result['file']}: {result['error']['message']}", style="red", markup=False)
        return
    told = result["id"] if "id" in result else f"lorebook {result['lorebook_id']}"
    console.print(f"{result['file']}: {told}", markup=False)
    for warning in result["warnings"]:
        console.print(f"  {warning}", style="dim", markup=False)


def _export(client: httpx.Client, console: Console, chosen: argparse.Namespace) -> int:
    failed = 0
    for character_id in chosen.ids:
        try:
            path = chosen.to / f"{character_id}.{KINDS[chosen.format].suffix}"
            write_new(path, _get(client, character_id, chosen.format))
            console.print(str(path), markup=False)
        except Refusal as error:
            console.print(f"{character_id}: {error}", style="red", markup=False)
            failed += 1
    return failed


def _get(client: httpx.Client, character_id: str, kind: str) -> bytes:
    """The character's file. Raises Refusal."""
    response = client.get(f"/characters/{quote(character_id, safe='')}/export", params={"format": kind})
    if response.is_error:
        raise Refusal(read_answer(response)["error"]["message"])
    return response.content


ACTIONS = MappingProxyType({"import": _import, "export": _export, "synthesize": synthesize})
