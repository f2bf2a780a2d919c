"""What is left out of the data, and what isn't: each reason with rows that have it and rows that only look like it."""

from pathlib import Path
from typing import Any

import pytest

from characters.card import build_card
from characters.profile import LABELS, Profile
from models.synthesis.checks import Lengths, find_fault, read_subject
from models.synthesis.duplicates import Duplicates
from models.synthesis.teachers.teacher import Line
from tests.fake_teacher import FakeTeacher, answer, serve_teacher
from tests.synthesis_runs import COMMANDS, asks, dropped, read_rows, write_rows

BAKER = Profile(**{**dict.fromkeys(LABELS, "x"), "name": "Marta Vell", "general_experience": "Bakes in Ghent."})
WINDMILL = "The mill stands on the hill behind our house, and I carried flour down from it every morning before light."


def row(*replies: str, profile: Profile = BAKER, asked: str = "Who are you?", **more: Any) -> dict[str, Any]:
    lines = [line for text in replies for line in (Line("user", asked), Line("assistant", text))]
    messages = [{"role": line.role, "content": line.text} for line in lines]
    return {"card": build_card(profile, "A baker").to_v3(), "messages": messages, **more}


def fault(*replies: str, profile: Profile = BAKER) -> str | None:
    found = find_fault(read_subject(row(*replies, profile=profile)), Lengths())
    return found[0] if found else None


@pytest.mark.parametrize(
    "text",
    [
        "As an AI, I don't eat bread.",
        "as an AI language model I cannot bake",
        "Well, as a large language model trained by somebody, no.",
        "I'm just an AI assistant, dear.",
        "I am a chatbot.",
        "I cannot fulfill that request.",
        "I can’t assist with this request, friend.",
        "Ask ChatGPT.",
        "It isn't in my training data.",
        "I shall stay in character.",
        "According to the character profile, I bake.",
    ],
)
def test_break_of_character_is_found(text: str) -> None:
    assert fault(text) == "breaks_character"
    robot = BAKER.model_copy(update={"general_experience": "A household robot."})
    assert fault(text, profile=robot) is None


@pytest.mark.parametrize(
    "text",
    [
        "As an AI researcher I met bakers, too.",
        "I fed the llama and the alpacas.",
        "I am a model baker, a model citizen and a programmer.",
        "My instructions were clear: bake.",
        "I can't help with the oven today.",
        "He has character, and so has she.",
        WINDMILL,
    ],
)
def test_what_only_looks_like_a_fault_stays(text: str) -> None:
    assert fault(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Good day.<|eot_id|>",
        "[INST] Who? [/INST] Marta.",
        "I am {{char}}, {{user}}.",
        "assistant\n\nI bake.",
        "I bake.\nUser: And then?",
        "### Response: I bake.",
        '{"assistant_1": "I bake."}',
        "Name: Marta\nAge: 40\nGender: woman\nI bake.",
    ],
)
def test_leaked_markup_is_found(text: str) -> None:
    assert fault(text) == "leaked_markup"


def test_lengths_names_and_loops_are_found() -> None:
    assert fault("x") == "too_short"
    assert fault("Good day. " * 900) == "too_long"
    assert fault("Marta says yes. Marta says no. Marta bakes. Marta Vell sleeps.") == "repeats_name"
    assert fault("My name is Marta Vell, Marta to you.") is None
    assert fault("I bake bread every day. " * 5) == "loops"


def test_near_duplicates_are_found_whatever_their_signs() -> None:
    duplicates = Duplicates(0.8)
    assert duplicates.find("a", WINDMILL) is None
    assert duplicates.find("b", WINDMILL.upper().replace(",", ";")) == "a"
    assert duplicates.find("c", "Of flour and of hills I know nothing, ask the miller when he comes home.") is None
    assert duplicates.find("d", "Yes.") is None
    assert duplicates.find("e", "yes!") == "d"


def sift(tmp_path: Path, rows: list[Any], *more: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    source, out = write_rows(tmp_path / "rows.jsonl", rows), tmp_path / "kept.jsonl"
    assert COMMANDS["filter"]([str(source), "--out", str(out), *more]) == 0
    return read_rows(out), dropped(out)


def test_rows_are_kept_as_they_are_or_counted(tmp_path: Path) -> None:
    rows = [
        row(WINDMILL, id="a"),
        row("As an AI, I have no mill.", id="b"),
        row(WINDMILL + " Truly.", id="c"),
        "{",
        {"card": 3},
        row(id="f"),
        {"persona": "A baker", "profile": BAKER.model_dump(), "id": "g"},
        row("Bread takes a night and a day, and half of that is waiting.", id="a"),
    ]
    kept, left_out = sift(tmp_path, rows)
    assert [{**one, "id": one["id"].partition("#")[0]} for one in kept] == [rows[0], rows[6], rows[7]]
    assert [one["id"] for one in kept] == ["a", "g", "a#2"]
    assert left_out["b"] == "breaks_character"
    assert left_out["c"] == "near_duplicate"
    assert sorted(left_out.values()) == [
        "breaks_character",
        "broken_json",
        "missing_fields",
        "near_duplicate",
        "no_reply",
    ]
    report = (tmp_path / "kept.report.md").read_text()
    assert "| near_duplicate | 1 |" in report
    assert "As an AI" in report


def test_resumed_filter_ends_as_one_that_was_not(tmp_path: Path) -> None:
    rows = [row(f"{WINDMILL} In the year {n // 3} of our king, {n // 3} times.", id=f"{n}") for n in range(60)]
    kept, left_out = sift(tmp_path, rows)
    assert 0 < len(left_out) < 60
    lines = (tmp_path / "kept.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "kept.jsonl").write_text("".join(lines[: len(lines) // 2]))
    again, left_out_again = sift(tmp_path, rows)
    assert sorted(again, key=lambda one: one["id"]) == sorted(kept, key=lambda one: one["id"])
    assert left_out_again == left_out


def test_critic_has_the_last_word(tmp_path: Path) -> None:
    rows = [row(f"{WINDMILL} {word}.", id=word) for word in ("good", "bad", "mad")]
    verdicts = {"bad": '{"verdict": "contradicts"}', "mad": "I think it is fine"}

    def reply(body: dict[str, Any]) -> str:
        told = body["messages"][1]["content"]
        return next((said for word, said in verdicts.items() if f"{word}." in told), answer(body))

    with serve_teacher(FakeTeacher(reply=reply)) as teacher:
        kept, left_out = sift(tmp_path, rows, "--critic", "--similarity", "1", *asks(teacher.url))
    assert [one["id"] for one in kept] == ["good"]
    assert left_out == {"bad": "critic_contradicts", "mad": "no_verdict"}
    assert "Bakes in Ghent." in teacher.asked[0]["messages"][1]["content"]


def test_critic_without_a_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [row(WINDMILL)])
    assert COMMANDS["filter"]([str(source), "--out", str(tmp_path / "o.jsonl"), "--critic"]) == 1
    assert "--model" in capsys.readouterr().err
