"""What a server answers to a command, and what is said where it refuses."""

from pathlib import Path
from typing import Any

import httpx


class Refusal(Exception):
    """What was refused, and why: by the server, or by the disk."""


def read_answer(response: httpx.Response) -> dict[str, Any]:
    """The server's JSON, errors too. Raises Refusal where it is none of ours."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or (response.is_error and "message" not in (body.get("error") or {})):
        raise Refusal(f"{response.url} isn't an OpenCharacter server")
    return body


def write_new(path: Path, blob: bytes) -> None:
    """Write a file that isn't there yet. Raises Refusal."""
    try:
        with path.open("xb") as file:
            file.write(blob)
    except OSError as error:
        raise Refusal(f"{path}: {error.strerror}") from None
