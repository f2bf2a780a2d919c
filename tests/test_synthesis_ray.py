"""Synthesis on Ray Data: the same rows as without it, from two workers, gone on with by either."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_teacher import FakeTeacher, serve_teacher
from tests.synthesis_runs import COMMANDS, asks, dropped, read_rows, write_rows

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def _cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("_cluster")
def test_rows_on_ray_are_those_of_any_run(tmp_path: Path) -> None:
    rows = [{"persona": f"A baker {n}"} if n % 10 else {"other": n} for n in range(120)]
    source = write_rows(tmp_path / "personas.jsonl", rows)
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    with serve_teacher() as teacher:
        assert COMMANDS["profiles"]([str(source), "--out", str(here), *asks(teacher.url)]) == 0
        arguments = [str(source), "--out", str(there), *asks(teacher.url, "--stop-after", "5", "--attempts", "1")]
        # Begun without Ray, and left when the teacher dies.
        teacher.fault = lambda number, _: (500, "gone") if number >= 140 else None
        assert COMMANDS["profiles"](arguments) == 1
        done = len(read_rows(there))
        teacher.fault = lambda *_: None
        asked = len(teacher.asked)
        assert COMMANDS["profiles"]([*arguments, "--ray", "2"]) == 0
    assert 0 < done < 108
    assert len(teacher.asked) - asked == 108 - done
    assert sorted(read_rows(there), key=lambda row: row["id"]) == sorted(read_rows(here), key=lambda row: row["id"])
    assert dropped(there) == dropped(here)


@pytest.mark.usefixtures("_cluster")
def test_dead_teacher_stops_a_run_on_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_rows(tmp_path / "personas.jsonl", [{"persona": f"A baker {n}"} for n in range(40)])
    with serve_teacher(FakeTeacher(fault=lambda *_: (401, "no such key"))) as teacher:
        arguments = [str(source), "--out", str(tmp_path / "out.jsonl"), *asks(teacher.url), "--ray", "2"]
        assert COMMANDS["profiles"](arguments) == 1
    assert "no such key" in " ".join(capsys.readouterr().err.split())
