"""The page of scores: what is on it, what isn't, and that nothing in a score becomes markup."""

import json
from pathlib import Path
from typing import Any

import pytest

from models.evaluation.__main__ import main
from models.evaluation.personagym_tree import TASKS
from models.evaluation.published import TABLES
from models.evaluation.report import flatten
from models.evaluation.tally import MEASURES


def outcome(model: str, mean: float = 4.0, **changed: Any) -> dict[str, Any]:
    """Scores as `personagym` writes them."""
    measure = {"mean": mean, "std": 0.25, "low": mean - 0.1, "high": mean + 0.1, "of": 200}
    stages = ("answers", "examples", "verdicts")
    return {
        "benchmark": "personagym",
        "model": model,
        "identity": {"edition": "light", "mode": "opencharacter", "judges": ["gpt-4o-2024-08-06"], "digest": "d"},
        "questions": 1000,
        "personas": 200,
        "lost": {},
        "cut_answers": 3,
        "judges_itself": False,
        "measures": dict.fromkeys(MEASURES, measure),
        "by_persona": {},
        "counts": dict.fromkeys(TASKS, dict.fromkeys("12345", 40)),
        "cost": {
            stage: {"prompt_tokens": 1000, "completion_tokens": 500, "calls": 10, "price": 1.25} for stage in stages
        },
        "samples": [],
        **changed,
    }


def build(folder: Path, **scores: Any) -> str:
    """The page on files of these scores."""
    paths = [folder / f"{name}.scores.json" for name in scores]
    for path, content in zip(paths, scores.values(), strict=True):
        path.write_text(json.dumps(content))
    assert main(["report", *map(str, paths), "--out", str(folder / "report.html")]) == 0
    return (folder / "report.html").read_text()


def test_runs_stand_beside_the_papers_table(tmp_path: Path) -> None:
    page = build(tmp_path, ours=outcome("our-8b", 4.61), base=outcome("base-8b", 4.52))
    assert "our-8b (ours)" in page
    assert "4.61 (0.25)" in page
    assert "4.51 – 4.71" in page
    assert all(row.model in page for row in TABLES["light"][2])
    assert "table 5" not in page
    assert "3.75" in page  # what it cost
    assert "for orientation alone" not in page


def test_the_page_needs_nothing_from_anywhere(tmp_path: Path) -> None:
    page = build(tmp_path, ours=outcome("our-8b"))
    assert "data:image/svg+xml" in page
    assert "http:" not in page
    assert "https:" not in page


def test_another_judge_or_mode_is_minded(tmp_path: Path) -> None:
    strict = {"edition": "full", "mode": "strict", "judges": ["tiny"], "digest": "d"}
    page = build(tmp_path, ours=outcome("tiny", identity=strict, judges_itself=True))
    assert "for orientation alone" in page
    assert "its own judge" in page
    assert "table 5" in page


def test_a_run_that_lost_too_much_has_counts_and_no_score(tmp_path: Path) -> None:
    lost = outcome("lossy", 4.4321, lost={"answer: refused": 50}, measures=None, counts={}, samples=[])
    page = build(tmp_path, ours=lost)
    assert "no score: too much is lost" in page
    assert "50 answer: refused" in page
    assert "4.43" not in page


def test_a_gain_is_drawn(tmp_path: Path) -> None:
    gain = {"mean": 0.1, "std": 0.2, "low": 0.05, "high": 0.15, "of": 200}
    page = build(
        tmp_path, ours=outcome("m", baseline={"model": "base", "file": "b", "gains": dict.fromkeys(MEASURES, gain)})
    )
    assert "Gains over the baseline" in page
    assert "more than base (b)" in page
    assert "may be chance" not in page


def test_what_models_say_is_no_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    sample = {"persona": evil, "task": "Toxicity", "question": evil, "answer": evil, "score": 1.0, "reason": evil}
    page = build(tmp_path, ours=outcome(evil, samples=[sample]), other={"x": evil, evil: 1})
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_other_scores_get_tables_by_command(tmp_path: Path) -> None:
    (tmp_path / "a.manifest.json").write_text(json.dumps({"made_from": {"command": "rpeval"}, "runs": []}))
    page = build(tmp_path, a={"mean": 0.5, "classes": {"emotion": {"share": 0.25, "interval": [0.2, 0.3], "of": 8}}})
    assert "rpeval" in page
    assert "25.0% [20.0%, 30.0%] of 8" in page


def test_scores_are_flattened_by_path() -> None:
    scores = {"a": {"b_c": 1, "c": 0.5}, "d": "text", "e": [1, 2, 3], "f": None, "g": [-0.5, 0.25]}
    told = {"a · b c": "1", "a · c": "0.500", "d": "text", "g": "-0.500 to 0.250"}
    assert dict(flatten(scores)) == told


def test_what_stands_beside_a_share_is_told_too() -> None:
    scores = {"share": 0.25, "interval": [0.2, 0.3], "of": 8, "told": "25 %", "chance": 0.25, "verdict": "guesses"}
    told = {"share": "25.0% [20.0%, 30.0%] of 8", "chance": "0.250", "verdict": "guesses"}
    assert dict(flatten(scores)) == told


def test_a_gain_that_may_be_chance_is_called_so(tmp_path: Path) -> None:
    gain = {"mean": 0.1, "std": 0.2, "low": -0.05, "high": 0.15, "of": 200}
    baseline = {"model": "base", "file": "b.scores.json", "gains": dict.fromkeys(MEASURES, gain)}
    assert "may be chance" in build(tmp_path, ours=outcome("m", baseline=baseline))


@pytest.mark.parametrize("content", ["{", "[]", '{"benchmark": "personagym"}'])
def test_a_file_without_scores_is_told(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.scores.json"
    path.write_text(content)
    assert main(["report", str(path), "--out", str(tmp_path / "report.html")]) == 1
    assert "no report" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()
