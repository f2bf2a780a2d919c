"""Talk to a character in the terminal, against a server that runs."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.settings import Settings

# Signs that follow a word without a space.
CLOSING = ",.;:!?…)]”’"
HELP = "Enter sends · /again another reply · /history · /quit (or Ctrl-D)"


class ServerError(Exception):
    """What the server said no with."""


def chat(settings: Settings, chosen: argparse.Namespace) -> int:
    """Open or go on with a session and talk until the input ends. Returns the exit status."""
    console = Console(highlight=False)
    headers = {"authorization": f"Bearer {settings.api_keys[0].get_secret_value()}"} if settings.api_keys else {}
    url = chosen.url or f"http://{settings.host}:{settings.port}"
    with httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(600, connect=5)) as client:
        try:
            if chosen.character == "?":
                _list(client, console)
                return 0
            _talk(client, console, chosen)
        except httpx.TransportError:
            console.print(
                f"no server answers at {url}: start one with `make serve`, or name another with --url", style="red"
            )
            return 1
        except ServerError as error:
            console.print(str(error), style="red", markup=False)
            return 1
    return 0


def _list(client: httpx.Client, console: Console) -> None:
    table = Table("id", "name", "who", box=None, pad_edge=False)
    cursor: str | None = ""
    while cursor is not None:
        page = _json(client.get("/characters", params={"cursor": cursor, "limit": 200}))
        for character in page["characters"]:
            table.add_row(
                *(escape(text) for text in (character["id"], character["data"]["name"], character["persona"]))
            )
        cursor = page["next_cursor"]
    console.print(table)


def _talk(client: httpx.Client, console: Console, chosen: argparse.Namespace) -> None:
    session = _open(client, chosen)
    name = _name(client, console, session["character_id"])
    console.print(f"{name} · session {session['id']} · {HELP}\n", style="dim", markup=False)
    path = f"/sessions/{session['id']}"
    # In order, thoughts and actions stand in the text alone.
    seen = "hide" if chosen.channels == "hide" else "show"
    for message in _history(client, path, seen) if seen == "hide" else session["messages"]:
        _show(console, name if message["role"] == "assistant" else session["user"]["name"], message["content"])
    for line in _lines(session["user"]["name"]):
        if line == "/history":
            for message in _history(client, path, seen):
                _show(console, name if message["role"] == "assistant" else session["user"]["name"], message["content"])
            continue
        regenerate = line == "/again"
        try:
            body = {"stream": True, "channels": chosen.channels} | ({} if regenerate else {"content": line})
            _stream(client, f"{path}/regenerate" if regenerate else f"{path}/messages", body, console, name)
        except ServerError as error:
            console.print(str(error), style="red", markup=False)


def _history(client: httpx.Client, path: str, seen: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = _json(client.get(f"{path}/messages", params={"limit": 1000, "channels": seen}))[
        "messages"
    ]
    return messages


def _open(client: httpx.Client, chosen: argparse.Namespace) -> dict[str, Any]:
    if chosen.session:
        session = _json(client.get(f"/sessions/{quote(chosen.session, safe='')}"))
        if session["character_id"] != chosen.character:
            raise ServerError(
                f"the session {chosen.session} is with {session['character_id']}, not {chosen.character}: "
                f"python -m app chat {session['character_id']} --session {chosen.session}"
            )
        return session
    user = {"name": chosen.name, "persona": chosen.persona}
    body = {"character_id": chosen.character, "user": user, "greeting": chosen.greeting}
    return _json(client.post("/sessions", json=body))


def _name(client: httpx.Client, console: Console, character_id: str) -> str:
    """The character's name; its id where it was deleted, which its sessions outlive."""
    answer = client.get(f"/characters/{character_id}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        told = f"{character_id} was deleted: the session goes on with the card that it began with"
        console.print(told, style="yellow", markup=False)
        return character_id
    name: str = _json(answer)["data"]["name"]
    return name


def _lines(name: str) -> Iterator[str]:
    prompt = f"\033[1;36m{name}\033[0m: " if sys.stdin.isatty() else ""
    with suppress(EOFError, KeyboardInterrupt):
        while (line := input(prompt).strip()) != "/quit":
            if line:
                yield line
    print()


def _stream(client: httpx.Client, path: str, body: dict[str, Any], console: Console, name: str) -> None:
    """Print a reply as it comes; Ctrl-C stops the character and keeps what it has said."""
    with client.stream("POST", path, json=body) as response:
        if response.is_error:
            response.read()
            _json(response)
        console.print(f"{name}: ", style="bold magenta", markup=False, end="")
        before = ""
        with suppress(KeyboardInterrupt):
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    frame = json.loads(line.removeprefix("data: "))
                    if "error" in frame:
                        raise ServerError(frame["error"]["message"])
                    for choice in frame["choices"]:
                        before = _say(console, choice["delta"], before)
    print("\n")


def _say(console: Console, delta: dict[str, Any], before: str) -> str:
    """Print a delta, thoughts and actions paler, after one of the kind `before`. Returns the kind of this one."""
    for kind in ("content", "thought", "action"):
        if not (text := delta.get(kind)):
            continue
        beside = kind != "content"
        if before and (beside or before != "content") and not text[0].isspace() and text[0] not in CLOSING:
            print(" ", end="")
        if beside:
            console.print(text, style="dim italic", markup=False, end="", soft_wrap=True)
        else:
            print(text, end="", flush=True)
        before = kind
    return before


def _show(console: Console, name: str, text: str) -> None:
    console.print(f"{name}: ", style="bold magenta", markup=False, end="")
    console.print(text, markup=False)
    console.print()


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        body: dict[str, Any] = response.json()
    except ValueError:
        raise ServerError(f"{response.url} isn't an OpenCharacter server") from None
    if response.is_error:
        raise ServerError(body.get("error", {}).get("message", response.reason_phrase))
    return body
