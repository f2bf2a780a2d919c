"""What is wrong with a tree of PersonaGym's is told by its name, before anybody is asked."""

import json
import shutil
from pathlib import Path

import pytest

from tests.fake_teacher import serve_teacher
from tests.personagym import PERSONAS, gym, write_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run" / "pg.jsonl"


def refuse(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The fault that the command stops for, without having asked anybody."""
    with serve_teacher() as teacher:
        assert gym(tree, out, teacher) == 1
        assert not teacher.asked
    told = capsys.readouterr().err.strip().partition("as PersonaGym has it: ")[2]
    return told.split("; ")[0]


def test_a_file_with_nine_questions_is_named(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tree / "questions" / "benchmark-v1" / f"{PERSONAS[1]}.json"
    asked = json.loads(path.read_text())
    asked["Toxicity"].pop()
    path.write_text(json.dumps(asked))
    assert refuse(tree, out, capsys) == f"{path.name}: Toxicity has 9 questions, not 10"


def test_an_unknown_task_is_named(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tree / "questions" / "benchmark-v1" / f"{PERSONAS[1]}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "Tap Dance": ["?"] * 10}))
    assert refuse(tree, out, capsys) == f"{path.name}: unknown task 'Tap Dance'"


@pytest.mark.parametrize("broken", ["{", "[]", '{"Toxicity": 3}', "null"])
def test_a_broken_file_of_questions_is_named(
    tree: Path, out: Path, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tree / "questions" / "benchmark-v1" / f"{PERSONAS[0]}.json"
    path.write_text(broken)
    assert path.name in refuse(tree, out, capsys)


def test_a_missing_rubric_is_named(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "rubrics" / "Toxicity.txt").unlink()
    assert "rubrics/Toxicity.txt can't be read" in refuse(tree, out, capsys)


def test_a_rubric_without_a_slot_is_named(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "rubrics" / "Toxicity.txt").write_text("{persona} {question} {score_example}")
    assert refuse(tree, out, capsys) == "Toxicity.txt lacks {response}"


def test_no_tree_at_all_is_told(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve_teacher() as teacher:
        assert gym(tmp_path / "nowhere", out, teacher) == 1
    assert f"{tmp_path}/nowhere: there is no such folder" in capsys.readouterr().err


def test_a_tree_without_questions_is_told(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(tree / "questions")
    assert "there are no questions in" in refuse(tree, out, capsys)


def test_personas_without_questions_are_named(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "code").mkdir()
    listed = tree / "code" / "personas.py"
    listed.write_text(f"import os\nbenchmark_personas = {[*PERSONAS, 'A diver']!r}\n")
    assert refuse(tree, out, capsys) == "no questions for 'A diver'"
    listed.write_text("benchmark_personas = [__import__('os').getcwd()]\n")
    assert "code/personas.py" in refuse(tree, out, capsys)
