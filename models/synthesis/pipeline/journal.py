"""What has been done, in two append-only files: the rows that are kept, and why the others aren't.

A row is in exactly one of them once it is done, and done for good once `append` has returned: it has reached the disk.
A run that was killed leaves a torn last line at most, which is cut off when the next one begins.
"""

import fcntl
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

import orjson

from models.synthesis.pipeline.task import Outcome
from models.synthesis.teachers.teacher import Stop


class StorageFailed(Stop):
    """The disk is full, or takes nothing more."""


class Journal:
    """The rows of one output. Open from the start; used with `with`."""

    def __init__(self, path: Path) -> None:
        """Raises Stop when another run writes there, or when what is there is no journal."""
        self.path, self.dropped_path = path, beside(path, "dropped.jsonl")
        self.done: set[str] = set()
        self.kept = 0
        self.dropped: Counter[str] = Counter()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._kept_file, self._dropped_file = (one.open("a+b", buffering=0) for one in (path, self.dropped_path))
        try:
            fcntl.flock(self._kept_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise Stop(f"{path}: another run is writing there") from None
        try:
            _sync_folder(path.parent)
            for file in (self._kept_file, self._dropped_file):
                _cut_torn_line(file)
            self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, outcomes: Iterable[Outcome]) -> None:
        """Write them down to the disk: all of each file's, or none. Blocks. Raises StorageFailed."""
        kept, dropped = [], []
        for one in outcomes:
            if one.kind == "kept":
                kept.append(orjson.dumps({"id": one.id} | one.row | {"id": one.id}, option=orjson.OPT_APPEND_NEWLINE))
            else:
                said = {"id": one.id, "reason": one.reason, "sample": one.sample}
                dropped.append(orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE))
        self._write(self._kept_file, kept)
        self._write(self._dropped_file, dropped)

    def close(self) -> None:
        """Let others write there."""
        self._kept_file.close()
        self._dropped_file.close()

    def _read(self) -> None:
        for row in read_lines(self.path):
            self.done.add(_id(row, self.path))
            self.kept += 1
        for row in read_lines(self.dropped_path):
            self.done.add(_id(row, self.dropped_path))
            self.dropped[str(row.get("reason"))] += 1

    def _write(self, file: BinaryIO, lines: list[bytes]) -> None:
        if not lines:
            return
        end = file.seek(0, os.SEEK_END)
        rest = memoryview(b"".join(lines))
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):  # the next run cuts it off
                file.truncate(end)
            raise StorageFailed(
                f"{self.path} can't be written ({error.strerror}): make room, and the same command goes on from here"
            ) from error


def beside(path: Path, ending: str) -> Path:
    """The file that goes with an output: `rows.jsonl` has `rows.dropped.jsonl`."""
    return path.with_name(f"{path.name.removesuffix('.jsonl')}.{ending}")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file that a journal wrote. Raises Stop naming the line that is none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                row = None
            if not isinstance(row, dict):
                raise Stop(f"{path}, line {number}: no JSON object; it isn't as it was written")
            yield row


def _id(row: dict[str, Any], path: Path) -> str:
    if not isinstance(row.get("id"), str):
        raise Stop(f"{path} has rows without an id: it wasn't written by this command")
    found: str = row["id"]
    return found


def _cut_torn_line(file: BinaryIO) -> None:
    """Cut off what stands behind the last line end."""
    end = file.seek(0, os.SEEK_END)
    at = end
    while at:
        start = max(0, at - (1 << 16))
        file.seek(start)
        found = file.read(at - start).rfind(b"\n")
        if found >= 0:
            at = start + found + 1
            break
        at = start
    if at < end:
        file.truncate(at)
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Names of new files reach the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
