"""Bring chats from files to a server that runs, as sessions, and take sessions home."""

import argparse
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import httpx
from rich.console import Console

from app.commands.answers import Refusal, read_answer, write_new
from app.commands.connection import call
from app.settings import Settings
from characters.chats.writing import KINDS, ZIP

# The server gives a file up after a minute, and may have others to read before.
PATIENCE_S = 300


def sessions(settings: Settings, chosen: argparse.Namespace) -> int:
    """Do what was chosen: import or export. Returns the exit status: 1 when anything failed."""
    return call(settings, chosen, ACTIONS[chosen.action], PATIENCE_S)


def _import(client: httpx.Client, console: Console, chosen: argparse.Namespace) -> int:
    failed = 0
    for path in chosen.paths:
        try:
            session = _add(client, path, chosen)
        except Refusal as error:
            console.print(f"{path}: {error}", style="red", markup=False)
            failed += 1
            continue
        console.print(f"{path}: {session['id']}, {session['message_count']} messages", markup=False)
        for warning in session["warnings"]:
            console.print(f"  {warning}", style="dim", markup=False)
    return failed


def _add(client: httpx.Client, path: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """The session that the file has become. Raises Refusal."""
    told = {"character_id": chosen.character, "user": chosen.name, "user_id": chosen.user_id}
    query = {key: value for key, value in told.items() if value is not None}
    try:
        with path.open("rb") as file:
            response = client.post("/sessions/import", params=query, content=file)
    except OSError as error:
        raise Refusal(error.strerror) from None
    body = read_answer(response)
    if response.is_error:
        raise Refusal(body["error"]["message"])
    return body


def _export(client: httpx.Client, console: Console, chosen: argparse.Namespace) -> int:
    failed = 0
    suffix = (ZIP if chosen.branches == "all" else KINDS[chosen.format]).suffix
    for session_id in chosen.ids:
        try:
            # Ids that clients have chosen may have colons, which some systems' files may not.
            path = chosen.to / f"{session_id.replace(':', '_')}.{suffix}"
            write_new(path, _get(client, session_id, chosen))
            console.print(str(path), markup=False)
        except Refusal as error:
            console.print(f"{session_id}: {error}", style="red", markup=False)
            failed += 1
    return failed


def _get(client: httpx.Client, session_id: str, chosen: argparse.Namespace) -> bytes:
    """The session's file. Raises Refusal."""
    query = {"format": chosen.format, "branches": chosen.branches}
    response = client.get(f"/sessions/{quote(session_id, safe='')}/export", params=query)
    if response.is_error:
        raise Refusal(read_answer(response)["error"]["message"])
    return response.content


ACTIONS = MappingProxyType({"import": _import, "export": _export})
