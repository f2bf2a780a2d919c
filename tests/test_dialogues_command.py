"""Dialogues by the hundred thousand: as serving sends them, the user's words left alone, drawn from the seed."""

import json
from pathlib import Path
from typing import Any

import pytest

from characters.card import parse_card
from characters.profile import LABELS
from models.scene import UserPersona
from models.sections import head_text
from models.synthesis.instructions import BadInstruction, Fields, read_conversation
from models.training.rows import build_scene
from tests.fake_teacher import FakeTeacher, answer, serve_teacher
from tests.synthesis_runs import COMMANDS, Rows, asks, dropped, manifest, read_rows, write_rows

ALPACA = {"instruction": "Name three fruits.", "input": "Red ones.", "output": "Cherry, apple, currant."}
LIMA = {"conversations": ["Where is Ghent?", "In Belgium.", "And who lives there?", "Many."], "source": "stackexchange"}
HUB = {"input persona": "A baker", "synthesized text": "User prompt: How is bread made?", "description": "instruction"}


@pytest.fixture
def cast(tmp_path: Path) -> Path:
    rows = [
        {"id": f"{n}", "persona": f"A baker of {n}", "profile": {**dict.fromkeys(LABELS, "x"), "name": f"Baker {n}"}}
        for n in range(8)
    ]
    return write_rows(tmp_path / "profiles.jsonl", rows)


def talk(cast: Path, rows: list[Any], teacher: FakeTeacher, *more: str, name: str = "rows.jsonl") -> Rows:
    """The dialogues that come of `rows`, by their ids; what is left out stands beside `out.jsonl`."""
    source, out = write_rows(cast.with_name(name), rows), cast.with_name("out.jsonl")
    with serve_teacher(teacher):
        arguments = [str(cast), "--instructions", str(source), "--out", str(out), *asks(teacher.url, *more)]
        assert COMMANDS["dialogues"](arguments) == 0
    return sorted(read_rows(out), key=lambda row: row["id"])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (ALPACA, ["Name three fruits.\n\nRed ones.", "Cherry, apple, currant."]),
        ({**ALPACA, "input": ""}, ["Name three fruits.", "Cherry, apple, currant."]),
        (LIMA, LIMA["conversations"]),
        (HUB, ["How is bread made?"]),
        ({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}, ["Hi", "Ho"]),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]}, ["Hi", "Ho"]),
        ({"question": "Hi", "character_answer": "Ho"}, ["Hi", "Ho"]),
        ({"question": ["Hi", "Go on"], "character_answer": ["Ho", "No"]}, ["Hi", "Ho", "Go on", "No"]),
        ({"question": ["Hi", "Go on"], "character_answer": ["Ho"]}, ["Hi", "Ho", "Go on"]),
    ],
)
def test_published_formats_are_read(row: dict[str, Any], said: list[str]) -> None:
    assert [line.text for line in read_conversation(row)] == said


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "missing_fields"),
        ({"instruction": None}, "missing_fields"),
        ({"conversations": "Hi"}, "missing_fields"),
        ({"conversations": []}, "empty"),
        ({"conversations": ["Hi", " "]}, "empty"),
        ({"conversations": ["Hi", 3]}, "missing_fields"),
        ({"messages": [{"role": "assistant", "content": "Ho"}]}, "not_in_turn"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}, "not_in_turn"),
        ({"messages": [{"role": "system", "content": "a"}]}, "system_message"),
        ({"messages": [{"role": "narrator", "content": "a"}]}, "unknown_role"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "unknown_role"),
        ({"question": ["a"], "character_answer": ["a", "b", "c"]}, "not_in_turn"),
        ({"instruction": "x" * 100_000}, "too_long"),
        ({"conversations": ["Hi"] * 100}, "too_long"),
    ],
)
def test_row_that_is_no_conversation_says_why(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInstruction, match=f"^{reason}$"):
        read_conversation(row)


def test_other_rows_are_read_by_the_names_of_their_fields() -> None:
    fields = Fields("frage", "antwort")
    lines = read_conversation({"frage": "Wer?", "antwort": "Ich.", "instruction": "no"}, fields)
    assert [line.text for line in lines] == ["Wer?", "Ich."]


def test_generation_sends_what_serving_sends(cast: Path) -> None:
    teacher = FakeTeacher()
    rows = talk(cast, [LIMA], teacher, "--characters", "1", "--persona-only", "0")
    [row] = rows
    assert [one["role"] for one in row["messages"]] == ["user", "assistant"] * 2
    assert [one["content"] for one in row["messages"][::2]] == LIMA["conversations"][::2]
    head, *said = teacher.asked[1]["messages"]
    assert head == {"role": "system", "content": head_text(parse_card(row["card"]), UserPersona())}
    assert said == row["messages"][:3]
    scene = build_scene(row)
    assert scene.card.profile
    assert head["content"] == head_text(scene.card, scene.user)


def test_characters_are_drawn_from_the_seed(cast: Path) -> None:
    rows = [{"instruction": f"Say {n}.", "output": "Yes."} for n in range(40)]
    first = talk(cast, rows, FakeTeacher())
    assert len(first) == 120
    of_one = [row["character"] for row in first if row["id"].startswith("rows:7:")]
    assert len(set(of_one)) == 3
    assert {row["character"] for row in first} == {f"{n}" for n in range(8)}
    cast.with_name("out.jsonl").rename(cast.with_name("first.jsonl"))
    cast.with_name("out.manifest.json").unlink()
    again = write_rows(cast, list(reversed(cast.read_text().splitlines())))
    assert talk(again, rows, FakeTeacher()) == first


def test_some_dialogues_show_the_persona_alone(cast: Path) -> None:
    rows = [{"instruction": f"Say {n}."} for n in range(60)]
    made = talk(cast, rows, FakeTeacher(), "--persona-only", "0.25")
    bare = [row for row in made if not parse_card(row["card"]).profile]
    assert 20 < len(bare) < 75
    assert "# Character Profile" not in head_text(parse_card(bare[0]["card"]))


def test_rewriting_leaves_the_user_alone(cast: Path) -> None:
    tricky = {"conversations": ["Say “ä”\t\\n \u2028 {{user}} ", "Yes.", "  And?\r\n", "No."]}
    teacher = FakeTeacher()
    rows = talk(cast, [LIMA, tricky], teacher, "--strategy", "R")
    assert len(rows) == 6
    assert {row["messages"][0]["content"] for row in rows} == {LIMA["conversations"][0], tricky["conversations"][0]}
    assert all(row["messages"][1]["content"].endswith("I say.") for row in rows)
    assert len(teacher.asked) == 6


def _swap(body: dict[str, Any], **changed: Any) -> str:
    return json.dumps(json.loads(answer(body)) | changed)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda body: _swap(body, user_1="Where is Ghent ?"), "user_turn_changed"),
        (lambda body: _swap(body, user_1=None), "user_turn_changed"),
        (lambda body: _swap(body, assistant_1=" "), "empty_reply"),
        (lambda body: _swap(body, assistant_3="And more."), "other_turns"),
        (lambda body: answer(body)[:-5], "broken_json"),
        (lambda _: "[]", "other_turns"),
    ],
)
def test_spoilt_rewriting_is_asked_for_again(cast: Path, spoil: Any, reason: str) -> None:
    firsts: set[str] = set()

    def reply(body: dict[str, Any]) -> str:
        told = body["messages"][1]["content"]
        if told in firsts:
            return answer(body)
        firsts.add(told)
        return str(spoil(body))

    rows = talk(cast, [LIMA], FakeTeacher(reply=reply), "--strategy", "R")
    assert len(rows) == 3
    assert manifest(cast.with_name("out.jsonl"))["runs"][0]["retried"] == {reason: 3}


def test_rewriting_that_stays_spoilt_is_counted(cast: Path) -> None:
    teacher = FakeTeacher(reply=lambda body: _swap(body, user_2="?"))
    assert not talk(cast, [LIMA], teacher, "--strategy", "R")
    assert set(dropped(cast.with_name("out.jsonl")).values()) == {"user_turn_changed"}


def test_what_can_not_be_rewritten_is_counted(cast: Path) -> None:
    assert not talk(cast, [HUB, "{", {"instruction": 3}], FakeTeacher(), "--strategy", "R", "--characters", "1")
    reasons = dropped(cast.with_name("out.jsonl")).values()
    assert sorted(reasons) == ["broken_json", "missing_fields", "nothing_to_rewrite"]


def test_dialogue_that_does_not_fit_is_counted(cast: Path) -> None:
    assert not talk(cast, [{"instruction": "x" * 9000}], FakeTeacher(), "--characters", "1")
    assert list(dropped(cast.with_name("out.jsonl")).values()) == ["no_room"]


def test_file_without_characters_stops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cast = write_rows(tmp_path / "profiles.jsonl", [{"profile": 3}, "{", {"profile": {"nickname": "x"}}])
    source = write_rows(tmp_path / "rows.jsonl", [ALPACA])
    arguments = [str(cast), "--instructions", str(source), "--out", str(tmp_path / "o.jsonl"), *asks("http://x/v1")]
    assert COMMANDS["dialogues"](arguments) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "no characters: 1 missing_fields, 1 broken_json, 1 no_character" in told


def test_licences_of_all_that_went_before_are_named(cast: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cast.with_name("profiles.manifest.json").write_text('{"made_from": {}, "runs": [{"origins": ["PersonaHub"]}]}')
    talk(cast, [ALPACA], FakeTeacher(), name="mine.jsonl")
    told = " ".join(capsys.readouterr().err.split())
    assert "Persona Hub (" in told
    assert "Alpaca (CC BY-NC 4.0)" in told
