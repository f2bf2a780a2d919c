"""A teacher behind a server that fails in every way there is: waited for, counted, or given up with a word."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from models.synthesis.teachers.remote import RemoteTeacher
from models.synthesis.teachers.teacher import Line, Question, QuestionRefused, TeacherDead, TeacherFailed
from tests.fake_teacher import FakeTeacher, Fault, serve_teacher
from tests.synthesis_runs import COMMANDS, asks, dropped, read_rows, write_rows

QUESTION = Question([Line("user", "Who are you?")], 100, 0.8, 1)


@pytest.fixture
def fake() -> Iterator[FakeTeacher]:
    with serve_teacher() as teacher:
        yield teacher


@asynccontextmanager
async def asking(fake: FakeTeacher, timeout_s: float = 10.0) -> AsyncIterator[RemoteTeacher]:
    teacher = RemoteTeacher(fake.url, "fake", api_key="secret", attempts=3, timeout_s=timeout_s, first_pause_s=0.001)
    try:
        yield teacher
    finally:
        await teacher.close()


@pytest.mark.anyio
@pytest.mark.parametrize(
    "fault", [(429, "slow down"), (500, "oops"), (503, "busy"), b"", b"{", b"[]", b'{"choices": []}', "drop"]
)
async def test_what_may_pass_is_tried_again(fake: FakeTeacher, fault: Fault) -> None:
    fake.fault = lambda number, _: fault if number < 2 else None
    async with asking(fake) as teacher:
        answer = await teacher.answer(QUESTION)
        assert (answer.tokens, answer.is_cut) == (7, False)
        assert len(fake.asked) == 3
        fake.fault = lambda *_: fault
        with pytest.raises(TeacherFailed):
            await teacher.answer(QUESTION)
    assert len(fake.asked) == 6


@pytest.mark.anyio
async def test_answer_that_takes_too_long_is_given_up(fake: FakeTeacher) -> None:
    fake.fault = lambda number, _: "hang" if number == 0 else None
    async with asking(fake, timeout_s=0.1) as teacher:
        assert (await teacher.answer(QUESTION)).text
    assert len(fake.asked) == 2


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "error"), [(400, QuestionRefused), (422, QuestionRefused), (401, TeacherDead)])
async def test_what_does_not_pass_is_not_tried_again(fake: FakeTeacher, status: int, error: type[Exception]) -> None:
    fake.fault = lambda *_: (status, "the reason")
    async with asking(fake) as teacher:
        with pytest.raises(error, match="the reason"):
            await teacher.answer(QUESTION)
    assert len(fake.asked) == 1


def test_outage_costs_no_row(tmp_path: Path) -> None:
    rows = [{"persona": f"A baker {n}"} for n in range(100)]
    source, out = write_rows(tmp_path / "personas.jsonl", rows), tmp_path / "out.jsonl"
    fault = lambda number, _: (503, "restarting") if 40 <= number < 80 else None  # noqa: E731  # read on one line
    with serve_teacher(FakeTeacher(fault=fault)) as teacher:
        assert COMMANDS["profiles"]([str(source), "--out", str(out), *asks(teacher.url, "--attempts", "1")]) == 0
    assert len(read_rows(out)) == 100
    assert not dropped(out)


def test_row_that_always_fails_is_counted(tmp_path: Path) -> None:
    rows = [{"persona": f"A baker {n}"} for n in range(10)]
    source, out = write_rows(tmp_path / "personas.jsonl", rows), tmp_path / "out.jsonl"
    fault = lambda _, body: (500, "oops") if "baker 3" in str(body["messages"]) else None  # noqa: E731
    with serve_teacher(FakeTeacher(fault=fault)) as teacher:
        assert COMMANDS["profiles"]([str(source), "--out", str(out), *asks(teacher.url, "--attempts", "1")]) == 0
    assert (len(read_rows(out)), list(dropped(out).values())) == (9, ["teacher_failed"])


@pytest.mark.parametrize("fault", [(500, "out of memory"), (401, "no such key"), "drop", b"garbage"])
def test_dead_teacher_stops_the_run_and_costs_no_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: Fault
) -> None:
    rows = [{"persona": f"A baker {n}"} for n in range(200)]
    source, out = write_rows(tmp_path / "personas.jsonl", rows), tmp_path / "out.jsonl"
    with serve_teacher(FakeTeacher(fault=lambda number, _: fault if number >= 50 else None)) as teacher:
        arguments = [str(source), "--out", str(out), *asks(teacher.url, "--attempts", "1", "--stop-after", "20")]
        assert COMMANDS["profiles"](arguments) == 1
        assert "stopped: " in capsys.readouterr().err
        assert 0 < len(read_rows(out)) <= 50
        teacher.fault = lambda *_: None
        assert COMMANDS["profiles"](arguments) == 0
    assert (len(read_rows(out)), dropped(out)) == (200, {})


def test_teacher_that_says_nothing_of_use_stops_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"persona": f"A baker {n}"} for n in range(100)]
    source, out = write_rows(tmp_path / "personas.jsonl", rows), tmp_path / "out.jsonl"
    with serve_teacher(FakeTeacher(reply=lambda _: "I'd rather not.")) as teacher:
        arguments = [str(source), "--out", str(out), *asks(teacher.url, "--tries", "1", "--stop-after", "20")]
        assert COMMANDS["profiles"](arguments) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "of no use 20 times in a row, last: no_profile" in told
    assert "rather not" in told
    assert len(teacher.asked) < 60
