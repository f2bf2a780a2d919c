"""The folder of adapters, and this server's own copies of those that were used.

An operator may replace an adapter while it speaks, and vLLM reads weights again that it had put away. So engines are
shown copies, which nobody changes: each under its name and the digest of its content, checked after it was made.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeVar

from app.errors import UnavailableError
from models.adapters import FILES, Report, read_adapter
from models.engine import Adapter, Frame

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
UNSPEAKABLE = "its folder's name isn't letters, digits, dots, dashes and underscores, at most 100"
CHANGING = "its files are being changed: try again"
PIECE_BYTES = 1 << 20

T = TypeVar("T")
# Of each of an adapter's files: which one it is, its size, its last change. Any write makes another.
Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(slots=True)
class _Known:
    """An adapter as it lay there with this stamp, and its copy where one was made."""

    stamp: Stamp
    report: Report
    copy: Adapter | None = None


class AdapterStore:
    """The adapters in the folders of `root`, each under its folder's name, for a model of `frame`.

    `copies` is a folder of this server's alone. All methods raise UnavailableError when a folder can't be read.
    """

    def __init__(self, root: Path, copies: Path, frame: Frame) -> None:
        self._root = root
        self._copies = copies
        self._frame = frame
        self._known: dict[str, _Known] = {}
        self._copying = asyncio.Lock()

    async def page(self, after: str, limit: int) -> tuple[list[Report], str | None]:
        """Reports on the adapters behind `after` in the order of names, and the next cursor (None at the end)."""
        names = [name for name in await _beside(self._names) if name > after]
        reports = [await self.read(name) for name in names[:limit]]
        return [report for report in reports if report], names[limit - 1] if len(names) > limit else None

    async def read(self, name: str) -> Report | None:
        """What the adapter says of itself as it lies there now; None where there is no such folder."""
        known = await _beside(lambda: self._look(name))
        return known.report if known else None

    async def copy(self, name: str) -> Adapter | Report | None:
        """The adapter as it is now, for an engine; the report on one that is broken, None for one that isn't there."""
        known = await _beside(lambda: self._look(name))
        if known is None:
            return None
        if known.copy or not known.report.usable:
            return known.copy or known.report
        async with self._copying:
            if known.copy is None:
                copied = await _beside(lambda: self._copy(name, known.stamp))
                if isinstance(copied, Report):
                    return copied
                known.copy = copied
        return known.copy

    def _names(self) -> list[str]:
        return sorted(entry.name for entry in os.scandir(self._root) if entry.is_dir() and entry.name[0] != ".")

    def _look(self, name: str) -> _Known | None:
        """What is known of the adapter, read anew where its files have changed."""
        if not NAME.fullmatch(name):
            return _Known((), Report(name, problems=(UNSPEAKABLE,))) if name in self._names() else None
        folder = self._root / name
        if not folder.is_dir():
            self._known.pop(name, None)
            return None
        stamp = _stamp(folder)
        known = self._known.get(name)
        if known is None or known.stamp != stamp:
            known = self._known[name] = _Known(stamp, read_adapter(folder, self._frame))
        return known

    def _copy(self, name: str, stamp: Stamp) -> Adapter | Report:
        """Copy the files, and check the copy; the report says what is wrong with it."""
        made = Path(mkdtemp(dir=self._copies))
        try:
            digest = sha256()
            for file in FILES:
                _copy_file(self._root / name / file, made / file, digest.update)
            report = read_adapter(made, self._frame, name)
            if not report.usable:
                return report
            if _stamp(self._root / name) != stamp:
                return Report(name, problems=(CHANGING,))
            adapter = Adapter(f"{name}-{digest.hexdigest()[:16]}", self._copies / digest.hexdigest()[:16])
            if not adapter.path.exists():
                made.rename(adapter.path)
            return adapter
        finally:
            shutil.rmtree(made, ignore_errors=True)


async def _beside(work: Callable[[], T]) -> T:
    """What `work` returns, done beside the event loop."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        told = f"the server's adapters can't be read: {error.strerror or error}"
        raise UnavailableError(told, code="adapters_unavailable") from error


def _stamp(folder: Path) -> Stamp:
    return tuple(_stamp_file(folder / file) for file in FILES)


def _stamp_file(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_ctime_ns


def _copy_file(source: Path, target: Path, note: Callable[[bytes], None]) -> None:
    """Copy a file piece by piece, each of which is noted."""
    with source.open("rb") as read, target.open("wb") as written:
        while piece := read.read(PIECE_BYTES):
            note(piece)
            written.write(piece)
