"""PersonaGym from its tree to its scores, with a model and a judge over a real socket."""

import importlib
import threading
from pathlib import Path

import pytest

from loadtest.personagym import build_command, parse_arguments
from models.evaluation.__main__ import COMMANDS, main
from models.evaluation.personagym_tree import TASKS, Item
from models.evaluation.protocol import MODES, ask_persona, name_persona
from tests.fake_teacher import Body, FakeTeacher, serve_teacher
from tests.live import Live
from tests.personagym import LIGHT, PERSONAS, QUESTIONS, count_calls, gym, play, read_scores, write_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run" / "pg.jsonl"


@pytest.mark.parametrize(
    ("mode", "judged"), [("upstream", 30 + 30), ("opencharacter", 150 + 30), ("strict", 150 + 150)]
)
def test_every_question_is_answered_and_judged_once(tree: Path, out: Path, mode: str, judged: int) -> None:
    with serve_teacher(FakeTeacher(reply=play)) as teacher:
        assert gym(tree, out, teacher, "--mode", mode) == 0
        assert count_calls(teacher) == {"model": QUESTIONS, "judge": judged}
    scores = read_scores(out)
    assert (scores["questions"], scores["lost"]) == (QUESTIONS, {})
    # Digits 0 to 9 get 1 to 5 twice.
    assert scores["measures"]["PersonaScore"]["mean"] == pytest.approx(3.0)
    assert scores["counts"]["Toxicity"] == dict.fromkeys("12345", 6)


def test_light_asks_the_first_question_of_each_task(tree: Path, out: Path) -> None:
    with serve_teacher(FakeTeacher(reply=play)) as teacher:
        assert gym(tree, out, teacher, "--light") == 0
        assert count_calls(teacher) == {"model": LIGHT, "judge": 2 * LIGHT}
        asked = [body["messages"][-1]["content"] for body in teacher.asked if body["model"] == "model"]
    assert all("number 0" in text for text in asked)
    assert read_scores(out)["measures"]["PersonaScore"]["mean"] == 1.0


def test_a_folder_of_first_questions_alone_is_light(tmp_path: Path, out: Path) -> None:
    tree = write_tree(tmp_path / "tree", each=1)
    with serve_teacher(FakeTeacher(reply=play)) as teacher:
        assert gym(tree, out, teacher, "--light") == 0


def test_what_is_sampled_is_the_modes(tree: Path, out: Path) -> None:
    with serve_teacher(FakeTeacher(reply=play)) as teacher:
        assert gym(tree, out, teacher, "--light", "--mode", "upstream") == 0
        [*asked] = [body for body in teacher.asked if body["model"] == "model"]
        judging = [body for body in teacher.asked if body["model"] == "judge"]
    assert {(body["temperature"], body["top_p"], body["max_tokens"]) for body in asked} == {(0.9, 0.9, 3000)}
    assert {body["temperature"] for body in judging} == {0.0}


def test_slots_in_what_fills_a_slot_stay_as_they_are(tree: Path, out: Path) -> None:
    def say_slots(body: dict[str, object]) -> str:
        return "My {persona} is {question} {0} 3" if body["model"] == "model" else play(body)

    with serve_teacher(FakeTeacher(reply=say_slots)) as teacher:
        assert gym(tree, out, teacher, "--light", "--mode", "strict") == 0
        verdicts = [body["messages"][-1]["content"] for body in teacher.asked[-LIGHT:]]
    assert all("Response: My {persona} is {question} {0} 3" in text for text in verdicts)


def test_examples_are_shared_by_models_that_one_judge_judges(tree: Path, out: Path) -> None:
    with serve_teacher(FakeTeacher(reply=play)) as teacher:
        assert gym(tree, out, teacher, "--light") == 0
        other = out.with_name("other.jsonl")
        before = len(teacher.asked)
        assert gym(tree, other, teacher, "--light", "--seed", "2") == 0
        assert len(teacher.asked) - before == 2 * LIGHT
    assert read_scores(other)["cost"]["examples"]["calls"] == LIGHT


def test_answers_can_be_judged_again_by_another(tree: Path, out: Path) -> None:
    with serve_teacher(FakeTeacher(reply=play)) as teacher:
        assert gym(tree, out, teacher, "--light") == 0
        before = count_calls(teacher)["model"]
        again = ["--light", "--mode", "opencharacter", "--answers", str(out.with_name("pg.answers.jsonl"))]
        assert gym(tree, out.with_name("again.jsonl"), teacher, *again) == 0
        assert count_calls(teacher)["model"] == before


def test_two_judges_meet_in_the_middle(tree: Path, out: Path) -> None:
    def always_five(body: dict[str, object]) -> str:
        return "Therefore, the final score is 5." if body["model"] == "kind" else play(body)

    with serve_teacher(FakeTeacher(reply=always_five)) as teacher:
        second = ["--second-judge-url", teacher.url, "--second-judge-model", "kind"]
        assert gym(tree, out, teacher, "--light", "--mode", "upstream", *second) == 0
    assert read_scores(out)["measures"]["PersonaScore"]["mean"] == 3.0


def test_a_judge_without_a_server_of_its_own_is_the_models_neighbour(tree: Path, out: Path) -> None:
    with serve_teacher(FakeTeacher(reply=play)) as teacher:
        named = ["--data", str(tree), "--out", str(out), "--url", teacher.url.removesuffix("/v1"), "--model", "model"]
        assert main(["personagym", *named, "--judge-model", "judge", "--light"]) == 0
        assert count_calls(teacher) == {"model": LIGHT, "judge": 2 * LIGHT}
    assert read_scores(out)["identity"]["judges"] == ["judge"]


def test_nothing_is_asked_twice_by_the_same_command(tree: Path, out: Path) -> None:
    with serve_teacher(FakeTeacher(reply=play)) as teacher:
        assert gym(tree, out, teacher) == 0
        before = len(teacher.asked)
        assert gym(tree, out, teacher) == 0
        assert len(teacher.asked) == before


def test_a_dry_run_asks_nothing(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve_teacher(FakeTeacher(reply=play)) as teacher:
        assert gym(tree, out, teacher, "--dry-run") == 0
        assert not teacher.asked
    assert (
        f"{QUESTIONS} answers of model, {QUESTIONS} of {QUESTIONS} score examples of judge" in capsys.readouterr().out
    )


# comparing


def test_a_gain_over_the_baseline_is_paired(tree: Path, out: Path) -> None:
    def better(body: dict[str, object]) -> str:
        return "I answer 4" if body["model"] == "model" else play(body)

    with serve_teacher(FakeTeacher(reply=play)) as teacher:
        assert gym(tree, out, teacher, "--light") == 0
        teacher.reply = better
        baseline = ["--baseline", str(out.with_name("pg.scores.json"))]
        assert gym(tree, out.with_name("new.jsonl"), teacher, "--light", *baseline) == 0
    gain = read_scores(out.with_name("new.jsonl"))["baseline"]["gains"]["PersonaScore"]
    assert (gain["mean"], gain["low"], gain["high"], gain["of"]) == (4.0, 4.0, 4.0, len(PERSONAS))


def test_a_baseline_that_was_judged_otherwise_is_refused_before_anything_is_asked(
    tree: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve_teacher(FakeTeacher(reply=play)) as teacher:
        assert gym(tree, out, teacher, "--light") == 0
        before = len(teacher.asked)
        baseline = ["--baseline", str(out.with_name("pg.scores.json"))]
        assert gym(tree, out.with_name("new.jsonl"), teacher, "--light", "--mode", "strict", *baseline) == 1
        assert len(teacher.asked) == before
    assert "mode is 'strict' here and 'opencharacter' there" in capsys.readouterr().err


# the rest


@pytest.mark.parametrize(
    ("persona", "name"),
    [
        ("A 34-year-old scientist from London who is an influencer", "a 34-year-old scientist from London"),
        ("An engineer, retired", "an engineer"),
        ("Theodora of Wales", "Theodora of Wales"),
        (", who", "somebody"),
        ("x" * 500, "x" * 120),
    ],
)
def test_a_persona_is_called_by_its_first_clause(persona: str, name: str) -> None:
    assert name_persona(persona) == name


def test_an_output_takes_one_run_at_a_time(tree: Path, out: Path) -> None:
    with serve_teacher(FakeTeacher(reply=play, fault=lambda number, _: "hang" if not number else None)) as teacher:
        status: list[int] = []
        first = threading.Thread(target=lambda: status.append(gym(tree, out, teacher, "--light", "--concurrency", "1")))
        first.start()
        while not teacher.asked:
            assert first.is_alive()
        assert gym(tree, out, teacher, "--light") == 1
        teacher.go.set()
        first.join()


@pytest.mark.parametrize("module", [module for module, _ in COMMANDS.values()])
def test_every_evaluation_can_be_called(module: str) -> None:
    assert callable(importlib.import_module(f"models.evaluation.{module}").main)


@pytest.mark.parametrize("arguments", [["personagym"], ["sing"], []])
def test_wrong_usage_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main(arguments)
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    assert status == 2
    assert "usage" in "".join(capsys.readouterr())


def test_the_benchmark_asks_all_of_light_and_loses_nothing(tree: Path, out: Path) -> None:
    def play_both(body: Body) -> str:
        return play({**body, "model": "judge" if "response_format" in body else "model"})

    with serve_teacher(FakeTeacher(reply=play_both)) as teacher:
        arguments = parse_arguments(["--data", str(tree), "--out", str(out.parent), "--served-as", "model"])
        assert main(build_command(arguments, teacher.url)) == 0
    scores = read_scores(out.with_name("light.jsonl"))
    assert (scores["questions"], scores["lost"], scores["judges_itself"]) == (LIGHT, {}, True)


@pytest.mark.anyio
async def test_a_persona_is_told_as_the_server_tells_a_card_that_has_one_alone(live: Live) -> None:
    item = Item(PERSONAS[0], TASKS[0], 0, "What do you see?")
    card = {
        "id": "keeper",
        "name": name_persona(item.persona),
        "extensions": {"opencharacter": {"persona": item.persona}},
    }
    assert (await live.client.post("/characters", json=card)).status_code == 201
    asked = {"model": "keeper", "messages": [{"role": "user", "content": item.question}]}
    assert (await live.client.post("/v1/chat/completions", json=asked)).status_code == 200
    lines = [{"role": line.role, "content": line.text} for line in ask_persona(MODES["opencharacter"], item)]
    raw = await live.client.post("/v1/chat/completions", json={"model": "fake", "messages": lines})
    assert raw.status_code == 200
    as_character, as_messages = live.engine.prompts[-2:]
    assert as_character == as_messages
