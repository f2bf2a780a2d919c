"""`python -m loadtest.characters`: how long lists and searches among ten thousand characters take at the server.

The API's own routes over a real Redis of their own, called as ASGI in this process: no socket, no client, no engine.
Exits with 1 where a median is above the target.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from urllib.parse import urlencode

import uvloop
from fastapi import FastAPI
from rich.table import Table
from starlette.types import Message

from app.api.characters import routes
from app.store.characters import CharacterRecord, CharacterStore
from app.store.connection import connect
from app.store.embedded import embedded_redis
from characters.card import CardData, CharacterCard
from loadtest.machine import describe_machine
from loadtest.report import wide_console
from loadtest.summary import Figures, spread
from loadtest.workload import seeded

TARGET_MS = 20.0
TAGS = ("baker", "thief", "sailor", "witch", "clerk", "duke", "nurse", "smith")
# As many are written at a time.
WRITERS = 64


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Options of the benchmark; exits with 2 on bad ones."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.characters", description=__doc__)
    add = parser.add_argument
    add("--characters", type=int, default=10_000)
    add("--card-kb", type=int, default=8, help="of text in each card")
    add("--requests", type=int, default=50, help="of each kind")
    add("--seed", type=int, default=0)
    add("--json", type=Path, help="write the figures here")
    return parser.parse_args(argv)


def draw_records(arguments: argparse.Namespace) -> list[CharacterRecord]:
    """Characters of many names and a few tags, each with as much text as a card that people share."""
    random = seeded(arguments.seed)
    text = "She has kept the harbour's books for years. " * (arguments.card_kb * 1024 // 44)
    records = []
    for number in range(arguments.characters):
        name = "".join(random.choices("aeioulmnrst", k=9)).title()
        data = CardData(name=f"{name} {number}", description=text, tags=random.sample(TAGS, 2), creator="loadtest")
        records.append(CharacterRecord(f"character-{number:05}", 1, CharacterCard(data=data)))
    return records


def build_queries(records: list[CharacterRecord]) -> dict[str, dict[str, str]]:
    """What is asked for."""
    middle = records[len(records) // 2]
    return {
        "first page": {},
        "page in the middle": {"cursor": middle.id},
        "page of 200": {"limit": "200"},
        "search, one hit": {"q": middle.name},
        "search, many hits": {"q": "a"},
        "search, no hit": {"q": "zzzz"},
        "tag": {"tag": TAGS[0]},
        "search and tag": {"q": "e", "tag": TAGS[1]},
    }


async def measure(arguments: argparse.Namespace) -> dict[str, Figures]:
    """Fill the store and time each query: from the call of the application to the last byte of its answer."""
    records = draw_records(arguments)
    with tempfile.TemporaryDirectory(prefix="opencharacter-characters-") as folder:
        async with embedded_redis(Path(folder)) as url, connect(url) as redis:
            store = CharacterStore(redis)
            await _fill(store, records)
            app = FastAPI()
            app.include_router(routes.router)
            app.state.characters = store
            await store.refresh()
            queries = build_queries(records)
            return {label: await _time(app, query, arguments.requests) for label, query in queries.items()}


async def _fill(store: CharacterStore, records: list[CharacterRecord]) -> None:
    for start in range(0, len(records), WRITERS):
        await asyncio.gather(*(store.create(record) for record in records[start : start + WRITERS]))


async def _time(app: FastAPI, query: dict[str, str], times: int) -> Figures:
    await _call(app, query)
    walls, cpu_s = [], process_time()
    for _ in range(times):
        started = perf_counter()
        size = await _call(app, query)
        walls.append(perf_counter() - started)
    return {**spread(walls), "cpu_ms": (process_time() - cpu_s) / times * 1e3, "bytes": size}


async def _call(app: FastAPI, query: dict[str, str]) -> int:
    """Ask for a list; returns how many bytes came. Raises RuntimeError when it isn't a 200."""
    size, status = 0, 0

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal size, status
        status = message.get("status", status)
        size += len(message.get("body", b""))

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/characters",
        "raw_path": b"/characters",
        "query_string": urlencode(query).encode(),
        "headers": [],
        "scheme": "http",
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    if status != 200:
        raise RuntimeError(f"{query} was answered with {status}")
    return size


def result_table(figures: dict[str, Figures], title: str) -> Table:
    """A row a query."""
    table = Table(title=title, title_justify="left")
    for column in ("", "p50, ms", "p90", "p99", "max", "CPU, ms", "kB"):
        table.add_column(column, justify="right" if column else "left")
    for label, row in figures.items():
        cells = [f"{row[key]:.1f}" for key in ("p50", "p90", "p99", "max", "cpu_ms")]
        table.add_row(label, *cells, f"{row['bytes'] / 1000:.0f}")
    return table


def main() -> int:
    """0 when every median is within the target."""
    arguments = parse_arguments()
    console = wide_console()
    machine = describe_machine()
    figures = uvloop.run(measure(arguments))
    console.print(result_table(figures, f"{arguments.characters} characters, at the server, one request at a time"))
    console.print(" · ".join(f"{key} {value}" for key, value in machine.items()))
    passed = all(row["p50"] <= TARGET_MS for row in figures.values())
    console.print(f"target: {TARGET_MS:g} ms: {'PASS' if passed else 'FAIL'}")
    if arguments.json:
        report = {"machine": machine, "target_ms": TARGET_MS, "figures": figures}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
