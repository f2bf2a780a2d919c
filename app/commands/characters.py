"""Bring characters from files to a server that runs, and back. Files are read and written here, not by the server."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from app.settings import Settings
from characters.card import CardError
from characters.formats.cardfile import CardFile, build_card_file
from characters.formats.reading import read_card, unpack
from characters.formats.writing import KINDS, write_card
from characters.lore.coercion import Coercion


class Refusal(Exception):
    """What was refused, and why: by the server, or by the disk."""


def characters(settings: Settings, chosen: argparse.Namespace) -> int:
    """Import the files or export the characters that were named. Returns the exit status: 1 when any failed."""
    console = Console(highlight=False, soft_wrap=True)
    headers = {"authorization": f"Bearer {settings.api_keys[0].get_secret_value()}"} if settings.api_keys else {}
    url = chosen.url or f"http://{settings.host}:{settings.port}"
    with httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(60, connect=5)) as client:
        try:
            failed = _import(client, console, chosen) if chosen.action == "import" else _export(client, console, chosen)
        except httpx.TransportError:
            console.print(
                f"no server answers at {url}: start one with `make serve`, or name another with --url", style="red"
            )
            return 1
    return 1 if failed else 0


def _import(client: httpx.Client, console: Console, chosen: argparse.Namespace) -> int:
    failed = done = 0
    paths = list(_files(chosen.paths))
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=console, transient=True) as progress:
        for path in progress.track(paths, description="importing"):
            for name, blob in _unpack(path):
                try:
                    _tell(console, name, *_add(client, blob))
                    done += 1
                except (CardError, Refusal) as error:
                    console.print(f"{name}: {error}", style="red", markup=False)
                    failed += 1
    console.print(f"{done} imported, {failed} not")
    return failed


def _files(paths: list[Path]) -> Iterator[Path]:
    """The files that were named, and those in the folders that were."""
    for path in paths:
        if path.is_dir():
            yield from sorted(inside for inside in path.rglob("*") if inside.is_file())
        else:
            yield path


def _unpack(path: Path) -> Iterator[tuple[str, bytes | Exception]]:
    try:
        for name, blob in unpack(path.read_bytes(), path.name):
            yield name if name == path.name else f"{path.name}: {name}", blob
    except OSError as error:
        yield str(path), Refusal(error.strerror)
    except CardError as error:
        yield path.name, error


def _add(client: httpx.Client, blob: bytes | Exception) -> tuple[str, tuple[str, ...]]:
    """The id of the new character, and what of its file had to be changed or stayed behind."""
    if isinstance(blob, Exception):
        raise blob
    card_file = read_card(blob)
    character = _answer(client.post("/characters", json=card_file.to_json("v3")))
    lost = ("its pictures and other files stay behind",) if card_file.files else ()
    return character["id"], (*card_file.warnings, *lost)


def _tell(console: Console, name: str, character_id: str, warnings: tuple[str, ...]) -> None:
    console.print(f"{name}: {character_id}", markup=False)
    for warning in warnings:
        console.print(f"  {warning}", style="dim", markup=False)


def _export(client: httpx.Client, console: Console, chosen: argparse.Namespace) -> int:
    failed = 0
    for character_id in chosen.ids:
        try:
            path = chosen.to / f"{character_id}.{KINDS[chosen.format].suffix}"
            _write(path, write_card(_get(client, character_id), chosen.format))
            console.print(str(path), markup=False)
        except (CardError, Refusal) as error:
            console.print(f"{character_id}: {error}", style="red", markup=False)
            failed += 1
    return failed


def _get(client: httpx.Client, character_id: str) -> CardFile:
    return build_card_file(_answer(client.get(f"/characters/{character_id}")), Coercion())


def _write(path: Path, blob: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(blob)
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from None


def _answer(response: httpx.Response) -> dict[str, Any]:
    try:
        body: dict[str, Any] = response.json()
    except ValueError:
        raise Refusal(f"{response.url} isn't an OpenCharacter server") from None
    if response.is_error:
        raise Refusal(body.get("error", {}).get("message", response.reason_phrase))
    return body
