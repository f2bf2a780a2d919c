"""The server that commands speak to: the one that is named, or the one that the settings describe."""

import argparse
from collections.abc import Callable

import httpx
from rich.console import Console

from app.settings import Settings

# What is done with it; returns how much of it failed.
Action = Callable[[httpx.Client, Console, argparse.Namespace], int]


def call(settings: Settings, chosen: argparse.Namespace, action: Action, patience_s: float) -> int:
    """Do it with the server; returns the exit status: 1 when anything failed, which is told."""
    console = Console(highlight=False, soft_wrap=True)
    headers = {"authorization": f"Bearer {settings.api_keys[0].get_secret_value()}"} if settings.api_keys else {}
    url = chosen.url or f"http://{settings.host}:{settings.port}"
    with httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(patience_s, connect=5)) as client:
        try:
            failed = action(client, console, chosen)
        except (httpx.ReadTimeout, httpx.WriteTimeout):
            console.print(f"the server at {url} took longer than {patience_s} s to answer", style="red")
            return 1
        except httpx.TransportError:
            console.print(
                f"no server answers at {url}: start one with `make serve`, or name another with --url", style="red"
            )
            return 1
    return 1 if failed else 0
