"""A run of synthesis: each row once, whatever ends it, and nothing that was there is lost or mixed with others."""

import json
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.fake_teacher import FakeTeacher, serve_teacher
from tests.synthesis_runs import COMMANDS, asks, dropped, manifest, read_rows, start, write_rows

KILLS = 20


def personas(count: int) -> list[Any]:
    """Personas, and now and then a row that holds none."""
    return [{"persona": f"A baker of village {n}"} if n % 17 else {"other": n} for n in range(count)]


def written(out: Path) -> list[list[str]]:
    """The lines of an output's two files, in any order."""
    return [sorted(path.read_text().splitlines()) for path in (out, out.with_suffix(".dropped.jsonl"))]


def test_killed_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    source = str(write_rows(tmp_path / "personas.jsonl", personas(900)))
    random = Random(1)
    with serve_teacher() as teacher:
        once, often = tmp_path / "once.jsonl", tmp_path / "often.jsonl"
        assert COMMANDS["profiles"]([source, "--out", str(once), *asks(teacher.url)]) == 0
        for _ in range(KILLS):
            process = start("profiles", [source, "--out", str(often), *asks(teacher.url)], tmp_path / "log")
            wait_until(partial(teacher.was_asked, len(teacher.asked) + random.randint(1, 100)), "it was asked")
            process.kill()
            process.join()
        assert 0 < often.read_bytes().count(b"\n") < len(read_rows(once))
        assert COMMANDS["profiles"]([source, "--out", str(often), *asks(teacher.url)]) == 0
    assert written(often) == written(once)
    assert len(read_rows(once)) + len(dropped(once)) == 900
    assert len(manifest(often)["runs"]) == KILLS + 1


@pytest.mark.parametrize("torn", ["", '{"id":"0:', '{"id":"x","persona":"a","profile":{}}'])
def test_torn_line_is_cut_off_and_its_row_done_again(tmp_path: Path, torn: str) -> None:
    source, out = str(write_rows(tmp_path / "personas.jsonl", personas(5))), tmp_path / "out.jsonl"
    with serve_teacher() as teacher:
        arguments = [source, "--out", str(out), *asks(teacher.url)]
        assert COMMANDS["profiles"](arguments) == 0
        whole = written(out)
        lines = out.read_text().splitlines(keepends=True)
        out.write_text("".join(lines[:-1]) + torn)
        assert COMMANDS["profiles"](arguments) == 0
    assert written(out) == whole
    assert len(teacher.asked) == 5


def test_full_disk_stops_the_run_with_nothing_torn(tmp_path: Path) -> None:
    source, out = str(write_rows(tmp_path / "personas.jsonl", personas(300))), tmp_path / "out.jsonl"
    with serve_teacher() as teacher:
        arguments = [source, "--out", str(out), *asks(teacher.url)]
        process = start("profiles", arguments, tmp_path / "log", most_bytes=50_000)
        process.join()
        assert process.exitcode == 1
        assert "make room" in (tmp_path / "log").read_text()
        rows = read_rows(out)
        assert 0 < len(rows) < 280
        assert out.read_text().endswith("\n")
        assert COMMANDS["profiles"](arguments) == 0
    assert len({row["id"] for row in read_rows(out)}) == len(read_rows(out)) == 282


def test_output_of_something_else_is_never_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = str(write_rows(tmp_path / "personas.jsonl", personas(3))), tmp_path / "out.jsonl"
    out.write_text("my diary\n")
    with serve_teacher() as teacher:
        assert COMMANDS["profiles"]([source, "--out", str(out), *asks(teacher.url)]) == 1
        assert "is there already" in capsys.readouterr().err
        assert out.read_text() == "my diary\n"
        out.unlink()
        assert COMMANDS["profiles"]([source, "--out", str(out), *asks(teacher.url)]) == 0
        before = out.read_bytes()
        assert COMMANDS["profiles"]([source, "--out", str(out), *asks(teacher.url, "--seed", "2")]) == 1
    told = capsys.readouterr().err
    assert "seed was 1, is 2" in " ".join(told.split())
    assert out.read_bytes() == before


def test_two_runs_never_write_to_one_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = str(write_rows(tmp_path / "personas.jsonl", personas(40))), tmp_path / "out.jsonl"
    with serve_teacher(FakeTeacher(fault=lambda number, _: "hang" if number > 4 else None)) as teacher:
        arguments = [source, "--out", str(out), *asks(teacher.url)]
        process = start("profiles", arguments, tmp_path / "log")
        wait_until(lambda: len(teacher.asked) > 4, "the first run is at work")
        assert COMMANDS["profiles"](arguments) == 1
        process.kill()
        process.join()
    assert "another run is writing there" in " ".join(capsys.readouterr().err.split())


def test_finished_run_asks_nobody(tmp_path: Path) -> None:
    source, out = str(write_rows(tmp_path / "personas.jsonl", personas(20))), tmp_path / "out.jsonl"
    with serve_teacher() as teacher:
        arguments = [source, "--out", str(out), *asks(teacher.url)]
        assert COMMANDS["profiles"](arguments) == 0
        asked, before = len(teacher.asked), written(out)
    assert COMMANDS["profiles"](arguments) == 0
    assert (len(teacher.asked), written(out)) == (asked, before)


def test_rows_added_to_the_source_are_all_that_is_done(tmp_path: Path) -> None:
    source, out = write_rows(tmp_path / "personas.jsonl", personas(20)), tmp_path / "out.jsonl"
    with serve_teacher() as teacher:
        arguments = [str(source), "--out", str(out), *asks(teacher.url)]
        COMMANDS["profiles"](arguments)
        asked = len(teacher.asked)
        write_rows(source, personas(25))
        COMMANDS["profiles"](arguments)
    assert len(teacher.asked) == asked + 5


def test_as_many_are_asked_at_a_time_as_was_said(tmp_path: Path) -> None:
    source, out = write_rows(tmp_path / "personas.jsonl", personas(60)), tmp_path / "out.jsonl"
    with serve_teacher(FakeTeacher(gap_s=0.01)) as teacher:
        COMMANDS["profiles"]([str(source), "--out", str(out), *asks(teacher.url), "--concurrency", "5"])
    assert teacher.most_at_a_time == 5


def test_damaged_output_is_named_by_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write_rows(tmp_path / "personas.jsonl", personas(5)), tmp_path / "out.jsonl"
    with serve_teacher() as teacher:
        arguments = [str(source), "--out", str(out), *asks(teacher.url)]
        COMMANDS["profiles"](arguments)
        lines = out.read_text().splitlines()
        write_rows(out, [lines[0], "{broken", *lines[1:]])
        assert COMMANDS["profiles"](arguments) == 1
    assert "line 2" in " ".join(capsys.readouterr().err.split())


def test_manifest_says_what_the_rows_were_made_of(tmp_path: Path) -> None:
    source, out = write_rows(tmp_path / "personas.jsonl", personas(5)), tmp_path / "out.jsonl"
    with serve_teacher() as teacher:
        COMMANDS["profiles"]([str(source), "--out", str(out), *asks(teacher.url), "--seed", "5"])
    told = manifest(out)
    assert (told["made_from"]["seed"], told["made_from"]["teacher"]) == (5, "fake")
    run = told["runs"][0]
    assert run["versions"]["python"]
    assert len(run["inputs"][0]["sha256"]) == 64
    assert (run["kept"], run["dropped"]) == (4, {"no_persona": 1})
    assert json.loads(out.read_text().splitlines()[0])["source"] == "personas"
