"""Folders that a server has to itself while it runs, among servers that share a data directory."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """An empty folder in `parent` that goes when the body ends; those that killed servers have left go first.

    A server that runs holds a lock on the file beside its folder, which its death gives back.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / "lock").open("w") as all_of_them:
        fcntl.flock(all_of_them, fcntl.LOCK_EX)
        for lock in parent.glob("*.lock"):
            _sweep(lock)
        folder = Path(mkdtemp(prefix="server-", dir=parent))
        held = folder.with_suffix(".lock").open("w")
        fcntl.flock(held, fcntl.LOCK_EX)
    with held:
        try:
            yield folder
        finally:
            _remove(folder)


def _sweep(lock: Path) -> None:
    """Remove the folder of a server that is gone."""
    with lock.open("w") as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(lock.with_suffix(""))


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_suffix(".lock").unlink(missing_ok=True)
