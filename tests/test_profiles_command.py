"""Profiles by the hundred thousand: whatever stands in a source, each row becomes a valid profile or is counted."""

from pathlib import Path

import pytest

from characters.profile import LABELS, SYNTHESIS_LENGTHS, Profile, profile_json_schema
from models.synthesis.pipeline import sources
from models.synthesis.profile_prompt import parse_profile, render_profile
from tests.fake_teacher import FakeTeacher, answer, serve_teacher
from tests.synthesis_runs import COMMANDS, asks, dropped, manifest, read_rows, write_rows


def synthesize(source: Path, out: Path, teacher: FakeTeacher, *more: str) -> int:
    with serve_teacher(teacher):
        return COMMANDS["profiles"]([str(source), "--out", str(out), *asks(teacher.url, *more)])


def test_rows_of_all_kinds_are_read_or_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_LINE_BYTES", 200_000)
    lines = [
        {"persona": "A baker"},
        '{"persona": "A bro',
        {"input persona": "A  miller\nof Ghent"},
        {"persona": "x" * 100_000},
        '"just a text"',
        "",
        {"persona": 7},
        {"persona": "y" * 300_000},
        {"persona": "   "},
        "\x00\x01\xff",
        {"persona": "Стареющая балерина"},
    ]
    source, out = write_rows(tmp_path / "personas.jsonl", lines), tmp_path / "out.jsonl"
    assert synthesize(source, out, FakeTeacher()) == 0
    assert sorted(row["persona"] for row in read_rows(out)) == ["A baker", "A miller of Ghent", "Стареющая балерина"]
    assert sorted(dropped(out).values()) == [
        "broken_json",
        "broken_json",
        "line_too_long",
        "no_persona",
        "no_persona",
        "not_an_object",
        "persona_too_long",
    ]
    report = out.with_suffix(".report.md").read_text()
    assert "3 rows kept, 7 dropped" in report
    assert "A bro" in report


def test_profile_is_what_training_and_serving_know(tmp_path: Path) -> None:
    source, out = write_rows(tmp_path / "personas.jsonl", [{"persona": "A baker"}]), tmp_path / "out.jsonl"
    teacher = FakeTeacher()
    synthesize(source, out, teacher)
    [row] = read_rows(out)
    profile = Profile.model_validate(row["profile"])
    assert parse_profile(render_profile(profile)) == profile
    asked = teacher.asked[0]["response_format"]["json_schema"]["schema"]
    assert asked in [profile_json_schema(char_bytes) for char_bytes in (2, 3, 4)]


def test_served_prompt_is_the_short_one(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "personas.jsonl", [{"persona": "A baker"}])
    short, long = FakeTeacher(), FakeTeacher()
    synthesize(source, tmp_path / "short.jsonl", short, "--prompt", "served")
    synthesize(source, tmp_path / "long.jsonl", long)
    assert len(short.asked[0]["messages"][0]["content"]) < 200 < len(long.asked[0]["messages"][0]["content"])
    assert all(field in long.asked[0]["messages"][0]["content"] for field in LABELS)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("Certainly! Here is a profile.", "no_profile"),
        ('{"name": "x"}', "no_profile"),
        ("", "no_profile"),
        ('{"name": "' + "x" * (SYNTHESIS_LENGTHS["name"] + 1) + '"', "no_profile"),
    ],
)
def test_garbage_is_asked_for_again_then_counted(tmp_path: Path, reply: str, reason: str) -> None:
    rows = [{"persona": f"A baker {n}"} for n in range(4)]
    source, out = write_rows(tmp_path / "personas.jsonl", rows), tmp_path / "out.jsonl"
    teacher = FakeTeacher(reply=lambda body: reply if "baker 2" in str(body["messages"]) else answer(body))
    assert synthesize(source, out, teacher) == 0
    assert len(read_rows(out)) == 3
    assert list(dropped(out).values()) == [reason]
    assert manifest(out)["runs"][0]["retried"] == {reason: 2}
    assert len({body["seed"] for body in teacher.asked if "baker 2" in str(body["messages"])}) == 3


def test_value_longer_than_the_schema_allows_is_no_profile(tmp_path: Path) -> None:
    source, out = write_rows(tmp_path / "personas.jsonl", [{"persona": "A baker"}]), tmp_path / "out.jsonl"
    values = dict.fromkeys(LABELS, "x") | {"age": "forty-something or so"}
    teacher = FakeTeacher(reply=lambda _: str(values).replace("'", '"'))
    assert synthesize(source, out, teacher) == 0
    assert list(dropped(out).values()) == ["profile_too_long"]


def test_json_list_is_read_like_lines(tmp_path: Path) -> None:
    source, out = tmp_path / "personas.json", tmp_path / "out.jsonl"
    source.write_text('[{"persona": "A baker"}, 3, {"persona": "A miller"}]')
    assert synthesize(source, out, FakeTeacher()) == 0
    assert (len(read_rows(out)), list(dropped(out).values())) == (2, ["not_an_object"])


def test_dataset_is_read_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "acme" / "personas").mkdir(parents=True)
    write_rows(tmp_path / "acme" / "personas" / "train.jsonl", [{"persona": f"A baker {n}"} for n in range(5)])
    out = tmp_path / "out.jsonl"
    assert synthesize(Path("acme/personas@train"), out, FakeTeacher(), "--limit", "3") == 0
    assert [row["source"] for row in read_rows(out)] == ["acme/personas@train"] * 3


def test_dataset_that_is_a_script_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "acme" / "personas").mkdir(parents=True)
    (tmp_path / "acme" / "personas" / "personas.py").touch()
    assert synthesize(Path("acme/personas"), tmp_path / "out.jsonl", FakeTeacher()) == 1
    assert "acme/personas can't be read: Dataset scripts" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", ["missing.jsonl", "no dataset", "a/b/c"])
def test_source_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert COMMANDS["profiles"]([name, "--out", str(tmp_path / "out.jsonl"), *asks("http://127.0.0.1:9/v1")]) == 1
    assert name in " ".join(capsys.readouterr().err.split())


def test_limit_and_field_are_kept_to(tmp_path: Path) -> None:
    source, out = write_rows(tmp_path / "rows.jsonl", [{"who": f"A baker {n}"} for n in range(9)]), tmp_path / "o.jsonl"
    assert synthesize(source, out, FakeTeacher(), "--field", "who", "--limit", "3") == 0
    assert len(read_rows(out)) == 3


def test_forbidding_licence_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [{"input persona": "A baker", "synthesized text": "Bake."}])
    assert synthesize(source, tmp_path / "first.jsonl", FakeTeacher()) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "Persona Hub (CC BY-NC-SA 4.0" in told
    assert synthesize(source, tmp_path / "second.jsonl", FakeTeacher(), "--purpose", "research") == 0
    assert "Persona Hub" not in capsys.readouterr().err
    assert manifest(tmp_path / "second.jsonl")["runs"][0]["licences"][0]["source"] == "Persona Hub"
