"""What goes wrong on the way to PersonaGym's scores is counted and asked again, and never made a score."""

import json
from pathlib import Path

import pytest

from models.evaluation import personagym
from tests.conftest import wait_until
from tests.fake_teacher import FakeTeacher, serve_teacher
from tests.personagym import LIGHT, PERSONAS, QUESTIONS, count_calls, gym, play, read_scores, write_tree
from tests.synthesis_runs import FORKS


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run" / "pg.jsonl"


@pytest.mark.parametrize("stage", ["model", "judge"])
def test_questions_that_are_refused_are_counted_and_no_score_is_told(
    tree: Path, out: Path, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_number: int, body: dict[str, object]) -> tuple[int, str] | None:
        return (400, "not that") if body["model"] == stage and "Toxicity" in json.dumps(body["messages"]) else None

    with serve_teacher(FakeTeacher(reply=play, fault=refuse)) as teacher:
        assert gym(tree, out, teacher, "--light") == 1
    scores = read_scores(out)
    assert scores["lost"] == {f"{'answer' if stage == 'model' else 'examples'}: refused": len(PERSONAS)}
    assert scores["measures"] is None
    printed = capsys.readouterr().out
    assert "no score" in printed
    assert "PersonaScore" not in printed


def test_a_miss_is_counted_and_weighs_nothing(tree: Path, out: Path) -> None:
    def miss_one(body: dict[str, object]) -> str:
        text = play(body)
        first = PERSONAS[0] in json.dumps(body["messages"], ensure_ascii=False)
        return (
            text.replace("final score is 1", "verdict is open", 1) if first and "Task Toxicity" in str(body) else text
        )

    with serve_teacher(FakeTeacher(reply=miss_one)) as teacher:
        # Two batches, one miss in each, of 150.
        assert gym(tree, out, teacher) == 0
    scores = read_scores(out)
    assert scores["lost"] == {"verdict: no score in it": 2}
    assert scores["by_persona"][PERSONAS[0]]["Toxicity"] == pytest.approx(3.5)


def test_a_judge_of_garbage_stops_the_run(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def rave(body: dict[str, object]) -> str:
        return play(body) if body["model"] == "model" else "la la la"

    with serve_teacher(FakeTeacher(reply=rave)) as teacher:
        assert gym(tree, out, teacher, "--mode", "strict", "--stop-after", "10") == 1
        assert count_calls(teacher)["judge"] < QUESTIONS
    assert "of no use 10 times in a row" in capsys.readouterr().err
    assert not out.with_name("pg.scores.json").exists()


def test_a_dead_judge_stops_the_run_and_a_living_one_goes_on(tree: Path, out: Path) -> None:
    def die(_number: int, body: dict[str, object]) -> str | None:
        return "drop" if body["model"] == "judge" else None

    with serve_teacher(FakeTeacher(reply=play, fault=die)) as teacher:
        assert gym(tree, out, teacher, "--light", "--stop-after", "10") == 1
        teacher.fault = lambda _number, _body: None
        assert gym(tree, out, teacher, "--light", "--stop-after", "10") == 0
        assert count_calls(teacher)["model"] == LIGHT
    assert read_scores(out)["lost"] == {}


def test_what_was_lost_is_asked_once_more_with_again(tree: Path, out: Path) -> None:
    def refuse(_number: int, body: dict[str, object]) -> tuple[int, str] | None:
        return (400, "not that") if "Toxicity" in json.dumps(body["messages"]) else None

    with serve_teacher(FakeTeacher(reply=play, fault=refuse)) as teacher:
        assert gym(tree, out, teacher, "--light") == 1
        teacher.fault = lambda _number, _body: None
        assert gym(tree, out, teacher, "--light") == 1
        assert gym(tree, out, teacher, "--light", "--again") == 0
        assert count_calls(teacher)["model"] == LIGHT + len(PERSONAS)
    assert read_scores(out)["lost"] == {}


def test_a_line_that_was_torn_is_asked_for_again(tree: Path, out: Path) -> None:
    with serve_teacher(FakeTeacher(reply=play)) as teacher:
        assert gym(tree, out, teacher, "--light") == 0
        answers = out.with_name("pg.answers.jsonl")
        answers.write_bytes(answers.read_bytes()[:-20])
        verdicts = out.read_bytes()
        out.write_bytes(verdicts[: verdicts.rindex(b'"scores"')])
        before = len(teacher.asked)
        assert gym(tree, out, teacher, "--light") == 0
        assert len(teacher.asked) == before + 2
    assert read_scores(out)["lost"] == {}


def wait_for_questions(teacher: FakeTeacher, count: int) -> None:
    wait_until(lambda: len(teacher.asked) >= count, f"{count} questions are asked", 60)


def test_a_run_that_was_killed_goes_on_and_loses_nothing(tree: Path, out: Path) -> None:
    with serve_teacher(FakeTeacher(reply=play, gap_s=0.002)) as teacher:
        arguments = ["--data", str(tree), "--out", str(out), "--url", teacher.url, "--model", "model"]
        arguments += ["--judge-url", teacher.url, "--judge-model", "judge", "--concurrency", "8"]
        # In the answers, in the examples, and in the verdicts.
        for asked in (75, 225, 305):
            process = FORKS.Process(target=personagym.main, args=(arguments,))
            process.start()
            wait_for_questions(teacher, asked)
            process.kill()
            process.join()
        assert gym(tree, out, teacher, "--attempts", "6") == 0
    rows = [json.loads(line)["id"] for line in out.with_name("pg.answers.jsonl").read_text().splitlines()]
    assert len(rows) == len(set(rows)) == QUESTIONS
    assert read_scores(out)["lost"] == {}


def test_a_judge_that_hangs_is_asked_again(tree: Path, out: Path) -> None:
    hung: list[int] = []

    def hang_once(number: int, body: dict[str, object]) -> str | None:
        if body["model"] == "judge" and not hung:
            hung.append(number)
            return "hang"
        return None

    with serve_teacher(FakeTeacher(reply=play, fault=hang_once)) as teacher:
        assert gym(tree, out, teacher, "--light", "--timeout-s", "0.5") == 0
        assert count_calls(teacher)["judge"] == 2 * LIGHT + 1
    assert read_scores(out)["lost"] == {}


def test_a_place_that_cant_be_written_stops_the_run(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve_teacher(FakeTeacher(reply=play)) as teacher:
        assert gym(tree, Path("/proc/pg.jsonl"), teacher, "--light") == 1
        assert not teacher.asked
        out.with_name("pg.scores.json").mkdir(parents=True)
        assert gym(tree, out, teacher, "--light") == 1
    told = capsys.readouterr().err
    assert "stopped: [Errno 2] No such file or directory: '/proc/pg.answers.jsonl'" in told
    assert "pg.scores.json can't be written" in told
