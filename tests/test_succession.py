"""Whether a model may take another's place: no measure worse than chance makes it, and what can't be read is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from models.evaluation.succession import main

RECALL = {
    "temperature": 0.0,
    "profile_recall": 0.972,
    "style_adherence": 0.98,
    "user_recall": 0.925,
    "valid_profiles": 1.0,
    "markup_leaks": 0,
    "unfinished": 42,
}


def write(folder: Path, name: str, share: float = 0.9, **changed: Any) -> str:
    """The figures of a model; `share` is what it has right in long chats."""
    drift = {measure: {"begin": {"share": 0.9}, "end": {"share": share}} for measure in ("card", "user", "voice")}
    (folder / f"{name}.recall.json").write_text(json.dumps([{**RECALL, **changed}]))
    (folder / f"{name}.drift.scores.json").write_text(json.dumps(drift))
    return str(folder / name)


@pytest.mark.parametrize(
    ("changed", "worse"),
    [
        ({}, ""),
        ({"profile_recall": 0.965}, ""),
        ({"profile_recall": 0.95}, "profile recall, temperature 0"),
        ({"style_adherence": 0.97}, "style adherence, temperature 0"),
        ({"user_recall": 0.88}, "user recall, temperature 0"),
        ({"valid_profiles": 0.995}, "valid profiles, temperature 0"),
        ({"markup_leaks": 1}, "markup leaks, temperature 0"),
        ({"unfinished": 63}, "unfinished, temperature 0"),
        ({"unfinished": 0, "profile_recall": 1.0, "share": 1.0}, ""),
        ({"share": 0.86}, "card, last turns of long chats; voice, last turns of long chats"),
    ],
)
def test_a_model_that_is_worse_at_anything_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], worse: str
) -> None:
    old, new = write(tmp_path, "old"), write(tmp_path, "new", **changed)
    assert main([new, old]) == (1 if worse else 0)
    told = " ".join(capsys.readouterr().out.split())
    assert told.endswith(f"worse: {worse}" if worse else "at least as good")


def test_figures_that_are_not_there_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = write(tmp_path, "old"), write(tmp_path, "new")
    Path(f"{new}.drift.scores.json").write_text("{}")
    assert main([new, old]) == 2
    assert "no figures" in capsys.readouterr().out
    Path(f"{new}.recall.json").unlink()
    assert main([new, old]) == 2
    assert "new.recall.json" in "".join(capsys.readouterr().out.split())
