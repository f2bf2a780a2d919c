"""The released dataset by its schema, in every way in which its rows are known, or may be, written."""

from pathlib import Path
from typing import Any

import pytest

from characters.card import parse_card
from models.synthesis.released import parse_profile_text
from models.training.rows import build_scene
from tests.synthesis_runs import COMMANDS, dropped, read_rows, write_rows

PROFILE = """Name: Marta Vell
**Age:** 41
Gender: woman
Birth Place: Ghent
Appearance: Flour to the elbows,
and a red scarf.
General Experience: Bakes since she was twelve.
Personality: Warm, short with fools.
Family: Two brothers."""
CHARACTERS = [{"character_id": 1, "persona": "A baker", "character": PROFILE}, {"character_id": "x"}, "{"]


def convert(tmp_path: Path, rows: list[Any]) -> tuple[list[dict[str, Any]], list[str]]:
    characters = write_rows(tmp_path / "synthetic_character.jsonl", CHARACTERS)
    dialogues, out = write_rows(tmp_path / "synthetic_dialogue.jsonl", rows), tmp_path / "out.jsonl"
    assert COMMANDS["released"]([str(characters), str(dialogues), "--out", str(out)]) == 0
    return read_rows(out), list(dropped(out).values())


def test_profile_text_is_read_whole() -> None:
    profile = parse_profile_text(PROFILE)
    assert (profile.name, profile.age) == ("Marta Vell", "41")
    assert profile.appearance == "Flour to the elbows, and a red scarf."
    assert profile.general_experience == "Bakes since she was twelve. Family: Two brothers."


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Who are you?", "question_source": "lima", "character_answer": "Marta.", "character_id": 1},
        {"question": ["Who are you?"], "character_answer": ["Marta."], "character_id": "1"},
        {"question": "Who are you?", "character_answer": "Marta.", "character": PROFILE, "persona": "A baker"},
    ],
)
def test_row_becomes_one_to_train_on(tmp_path: Path, row: dict[str, Any]) -> None:
    [made], left_out = convert(tmp_path, [row])
    assert not left_out
    assert [one["content"] for one in made["messages"]] == ["Who are you?", "Marta."]
    card = parse_card(made["card"])
    assert (card.name, card.persona) == ("Marta Vell", "A baker")
    assert build_scene(made).card == card


def test_rows_that_lack_something_are_counted(tmp_path: Path) -> None:
    rows = [
        {"question": "Who?", "character_answer": "Me.", "character_id": 7},
        {"question": "Who?", "character_id": 1},
        {"question": "Who?", "character_answer": "Me.", "character": "nobody in particular"},
        {"character_answer": "Me."},
        {"question": ["a", "b"], "character_answer": "Me.", "character_id": 1},
    ]
    kept, left_out = convert(tmp_path, rows)
    assert not kept
    assert sorted(left_out) == ["missing_fields", "no_name", "no_reply", "no_reply", "unknown_character"]


def test_its_licence_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(tmp_path, [])
    assert "same family alone" in " ".join(capsys.readouterr().err.split())
