"""Have a running server write a character: from one line, or from a file of any length that is read piece by piece."""

import argparse
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
from rich.console import Console

from app.commands.answers import Refusal, read_answer
from characters.profile import LABELS


def synthesize(client: httpx.Client, console: Console, chosen: argparse.Namespace) -> int:
    """Print a profile as it is written, then the id under which the character can be talked to."""
    kept: str | None = None
    try:
        for told in _written(client, chosen):
            if "field" in told:
                console.print(f"{LABELS[told['field']]}: {told['value']}", markup=False)
            elif "piece" in told:
                kept = told.get("id")
                console.print(f"piece {told['piece']} of {told['pieces']}", style="dim")
            else:
                console.print(told["id"], markup=False)
    except (Refusal, httpx.TransportError) as error:
        if kept is None and not isinstance(error, Refusal):
            raise
        console.print(str(error) or "the connection broke off", style="red", markup=False)
        if kept is not None:
            console.print(f"{kept} has what was read so far: the same command goes on from there", markup=False)
        return 1
    return 0


def _written(client: httpx.Client, chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The frames of a synthesis: its fields, then the character. Raises Refusal."""
    with ExitStack() as stack:
        response = stack.enter_context(client.stream("POST", "/characters/synthesize", **_asked(chosen, stack)))
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.read()
            body = read_answer(response)
            raise Refusal((body.get("error") or {"message": f"{response.url} streams nothing"})["message"])
        for line in response.iter_lines():
            if line.startswith("data: {"):
                told = json.loads(line.removeprefix("data: "))
                if "error" in told:
                    raise Refusal(told["error"]["message"])
                yield told


def _asked(chosen: argparse.Namespace, stack: ExitStack) -> dict[str, Any]:
    """The request: JSON, or the text as it is, whose file stays open with `stack`. Raises Refusal."""
    if chosen.text is None:
        return {"json": {"persona": chosen.persona, "name": chosen.name, "stream": True}}
    whom = {"name": chosen.name, "character_id": chosen.character}
    query = {"stream": "true", **{key: value for key, value in whom.items() if value is not None}}
    if len(query) == 1:
        raise Refusal("whom does the text tell of? Say --name for somebody new, or --character for one who is there")
    try:
        file = stack.enter_context(chosen.text.open("rb"))
    except OSError as error:
        raise Refusal(f"{chosen.text}: {error.strerror}") from None
    return {"params": query, "content": file, "headers": {"content-type": "text/plain"}}
