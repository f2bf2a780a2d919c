"""Where rows come from: JSONL, a JSON list, or a dataset of the Hugging Face hub. Each row is named by place and hash.

A line that can't be read is a row, too, with its fault: it is counted, and those after it are read.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from models.synthesis.teachers.teacher import Stop

# A longer line is no row of anything read here.
MOST_LINE_BYTES = 16 << 20
# A JSON list is read as a whole.
MOST_LIST_BYTES = 1 << 30
DIGEST_CHARACTERS = 12
MOST_SAMPLED = 200

# `owner/name`, then `:config` and `@split` where they are given.
_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?(?:@(?P<split>\w+))?")


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row where it was found. `key` is its place with a hash of what it says; `fault` is why it can't be read."""

    key: str
    value: dict[str, Any] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Rows of one file or dataset, in order. `name` is as it was given, `config` a hub dataset's where none was."""

    name: str
    limit: int | None = None
    config: str | None = None

    @property
    def path(self) -> Path | None:
        """The file, or None for a dataset."""
        path = Path(self.name)
        return path if path.is_file() else None

    @property
    def title(self) -> str:
        """What its rows are named after."""
        return Path(self.name).stem if self.path else self.name

    def check(self) -> None:
        """Raises Stop when there is neither a file nor what could be a dataset."""
        if self.path is None and (Path(self.name).suffix in (".json", ".jsonl") or not _HUB_ID.fullmatch(self.name)):
            raise Stop(f"{self.name}: there is no such file, and it is no dataset id like owner/name:config@split")

    def count(self) -> int | None:
        """How many rows there are, where that can be told without a network."""
        if self.path is None:
            return self.limit
        with _reading(self.name):
            rows = len(_read_list(self.path)) if self.path.suffix == ".json" else _count_lines(self.path)
        return rows if self.limit is None else min(rows, self.limit)

    def digest(self) -> str | None:
        """SHA-256 of the file."""
        if self.path is None:
            return None
        with _reading(self.name), self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def rows(self) -> Iterator[SourceRow]:
        """Reads as it goes; blocks. Raises Stop when the file or the dataset can't be read."""
        with _reading(self.name):
            yield from islice(self._rows(), self.limit)

    def _rows(self) -> Iterator[SourceRow]:
        if self.path is None:
            yield from self._hub_rows()
        elif self.path.suffix == ".json":
            for index, value in enumerate(_read_list(self.path)):
                yield _row(index, orjson.dumps(value), value)
        else:
            with self.path.open("rb") as file:
                yield from (_parse_line(index, line) for index, line in enumerate(_lines(file)))

    def _hub_rows(self) -> Iterator[SourceRow]:
        from datasets import load_dataset  # takes seconds to import

        found = _HUB_ID.fullmatch(self.name)
        assert found  # `check` has looked
        rows = load_dataset(
            found["id"], found["config"] or self.config, split=found["split"] or "train", streaming=True
        )
        for index, value in enumerate(rows):
            yield _row(index, orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS), value)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (ImportError, OSError, ValueError, RuntimeError) as error:  # the last one: a dataset that is a script
        raise Stop(f"{name} can't be read: {error}") from error


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines with anything in them; of one that is too long, its beginning."""
    while line := file.readline(MOST_LINE_BYTES + 1):
        rest = line
        while len(rest) > MOST_LINE_BYTES and not rest.endswith(b"\n"):
            rest = file.readline(MOST_LINE_BYTES + 1)
        if line.strip():
            yield line


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in _lines(file))


def _parse_line(index: int, line: bytes) -> SourceRow:
    if len(line) > MOST_LINE_BYTES:
        return _row(index, line, {"line": _shown(line)}, "line_too_long")
    try:
        return _row(index, line.strip(), orjson.loads(line))
    except orjson.JSONDecodeError:
        return _row(index, line.strip(), {"line": _shown(line)}, "broken_json")


def _row(index: int, raw: bytes, value: Any, fault: str = "") -> SourceRow:  # whatever JSON may say
    digest = hashlib.sha256(raw).hexdigest()[:DIGEST_CHARACTERS]
    if not isinstance(value, dict):
        value, fault = {"line": _shown(raw)}, "not_an_object"
    return SourceRow(f"{index}:{digest}", value, fault)


def _shown(raw: bytes) -> str:
    return raw[:MOST_SAMPLED].decode(errors="replace")


def _read_list(path: Path) -> list[Any]:
    """The rows of a JSON file. Raises ValueError when it is no list."""
    if path.stat().st_size > MOST_LIST_BYTES:
        raise ValueError(f"a JSON list of more than {MOST_LIST_BYTES >> 20} MiB; write it as JSONL")
    rows = orjson.loads(path.read_bytes())
    if not isinstance(rows, list):
        raise ValueError("it is JSON, but no list of rows; JSONL has the ending .jsonl")
    return rows
