"""The folder of adapters, which changes while they speak, and the copies that engines are shown."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import UnavailableError
from app.store.adapters import CHANGING, AdapterStore
from app.store.scratch import scratch_folder
from models.adapters import FILES, WEIGHTS, Report, read_adapter
from models.engine import Adapter
from tests.adapters import tiny_frame, write_adapter

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parent.parent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def store(root: Path, tmp_path: Path) -> AdapterStore:
    (tmp_path / "copies").mkdir()
    return AdapterStore(root, tmp_path / "copies", tiny_frame())


async def copied(store: AdapterStore, name: str = "lyra") -> Adapter:
    adapter = await store.copy(name)
    assert isinstance(adapter, Adapter), adapter
    return adapter


async def test_copy_is_the_adapter_byte_for_byte(store: AdapterStore, root: Path) -> None:
    write_adapter(root / "lyra")
    adapter = await copied(store)
    assert [(adapter.path / file).read_bytes() for file in FILES] == [
        (root / "lyra" / file).read_bytes() for file in FILES
    ]
    assert {file.name for file in adapter.path.iterdir()} == set(FILES)


async def test_copy_is_made_once(store: AdapterStore, root: Path, tmp_path: Path) -> None:
    write_adapter(root / "lyra")
    copies = await asyncio.gather(*(store.copy("lyra") for _ in range(8)))
    assert set(copies) == {await copied(store)}
    assert len(list((tmp_path / "copies").iterdir())) == 1


async def test_other_weights_are_another_adapter_and_leave_the_first_copy(store: AdapterStore, root: Path) -> None:
    write_adapter(root / "lyra", seed=1)
    first = await copied(store)
    before = (first.path / WEIGHTS).read_bytes()
    # In place, as `cp` writes.
    write_adapter(root / "lyra", seed=2)
    second = await copied(store)
    assert second.name != first.name
    assert (first.path / WEIGHTS).read_bytes() == before != (second.path / WEIGHTS).read_bytes()


async def test_same_weights_again_are_the_same_adapter(store: AdapterStore, root: Path) -> None:
    write_adapter(root / "lyra")
    first = await copied(store)
    shutil.rmtree(root / "lyra")
    assert await store.copy("lyra") is None
    write_adapter(root / "lyra")
    assert await copied(store) == first


async def test_broken_adapter_is_reported_until_it_is_mended(store: AdapterStore, root: Path) -> None:
    folder = write_adapter(root / "lyra")
    (folder / WEIGHTS).unlink()
    broken = await store.copy("lyra")
    assert isinstance(broken, Report)
    assert broken.problems == (f"{WEIGHTS} is missing",)
    write_adapter(folder)
    assert await copied(store)


async def test_adapter_that_changes_while_it_is_copied_is_not_taken(
    store: AdapterStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_adapter(root / "lyra", seed=1)

    def checked(made: Path, *more: object) -> Report:
        if made != folder:
            write_adapter(folder, seed=2)
        return read_adapter(made, tiny_frame(), "lyra")

    monkeypatch.setattr("app.store.adapters.read_adapter", checked)
    refused = await store.copy("lyra")
    assert isinstance(refused, Report)
    assert refused.problems == (CHANGING,)
    monkeypatch.undo()
    assert await copied(store)


@pytest.mark.parametrize("name", ["..", ".", "", "/", "../root/lyra", "lyra/", "lyra\0", ".hidden", "a" * 101, "é"])
async def test_name_that_is_no_folders_finds_nothing(store: AdapterStore, root: Path, name: str) -> None:
    write_adapter(root / "lyra")
    assert await store.read(name) is None
    assert await store.copy(name) is None


async def test_folder_whose_name_cannot_be_said_is_reported(store: AdapterStore, root: Path) -> None:
    write_adapter(root / "two words")
    (report,), _ = await store.page("", 10)
    assert "its folder's name isn't" in report.problems[0]
    assert report == await store.copy("two words")


async def test_pages_go_by_name_and_leave_out_what_is_no_folder(store: AdapterStore, root: Path) -> None:
    for name in ("cleo", "ann", "ben", ".hidden"):
        write_adapter(root / name)
    (root / "notes.txt").touch()
    first, cursor = await store.page("", 2)
    assert ([report.name for report in first], cursor) == (["ann", "ben"], "ben")
    last, end = await store.page("ben", 2)
    assert ([report.name for report in last], end) == (["cleo"], None)


async def test_folder_that_is_gone_is_said(store: AdapterStore, root: Path) -> None:
    shutil.rmtree(root)
    with pytest.raises(UnavailableError, match="can't be read"):
        await store.page("", 10)


async def test_full_disk_is_said_and_forgotten(store: AdapterStore, root: Path, tmp_path: Path) -> None:
    write_adapter(root / "lyra")
    (tmp_path / "copies").rmdir()
    with pytest.raises(UnavailableError):
        await store.copy("lyra")
    (tmp_path / "copies").mkdir()
    assert await copied(store)


def test_folder_of_a_server_goes_with_it(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "all") as mine, scratch_folder(tmp_path / "all") as theirs:
        (mine / "file").touch()
        assert mine != theirs
    assert {path.name for path in (tmp_path / "all").iterdir()} == {"lock"}


def test_what_a_killed_server_left_goes_and_what_a_running_one_has_stays(tmp_path: Path) -> None:
    left = tmp_path / "server-left"
    left.mkdir()
    (left / "file").touch()
    left.with_suffix(".lock").touch()
    with scratch_folder(tmp_path) as mine, scratch_folder(tmp_path):
        assert mine.is_dir()
        assert not left.exists()
        assert not left.with_suffix(".lock").exists()


def test_killed_server_gives_its_folder_up(tmp_path: Path) -> None:
    killed = (
        "import os, pathlib, app.store.scratch as s\nwith s.scratch_folder(pathlib.Path('.')): os.kill(os.getpid(), 9)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", killed], cwd=tmp_path, env=environment).returncode == -9
    (left,) = (path for path in tmp_path.glob("server-*") if path.is_dir())
    with scratch_folder(tmp_path):
        assert not left.exists()
