"""PersonaGym from its tree to its scores, with a model and a judge over a real socket."""

import importlib
import json
import shutil
import threading
from pathlib import Path

import pytest

from loadtest.personagym import build_command, parse_arguments
from models.evaluation import personagym
from models.evaluation.__main__ import COMMANDS, main
from models.evaluation.personagym_tree import TASKS, Item
from models.evaluation.protocol import MODES, ask_persona, name_persona
from tests.conftest import wait_until
from tests.fake_teacher import Body, FakeTeacher, serve_teacher
from tests.live import Live
from tests.personagym import PERSONAS, count_calls, gym, play, read_scores, write_tree
from tests.synthesis_runs import FORKS

QUESTIONS = len(PERSONAS) * len(TASKS) * 10
LIGHT = len(PERSONAS) * len(TASKS)


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


# what is lost


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


# what is wrong with a tree


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


def refuse(tree: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The fault that the command stops for, without having asked anybody."""
    with serve_teacher() as teacher:
        assert gym(tree, out, teacher) == 1
        assert not teacher.asked
    told = capsys.readouterr().err.strip().partition("as PersonaGym has it: ")[2]
    return told.split("; ")[0]


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
