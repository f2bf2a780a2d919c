"""The evaluations as commands, against a model over a real socket: rows once, scores that follow, losses told."""

import csv
import json
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from loadtest.drift import build_command, parse_arguments
from models.evaluation import chats, claims, drift, interviews, judge_check, remote_recall, rpeval, traits
from models.evaluation.__main__ import main
from models.evaluation.episodes import build_long_episodes
from models.evaluation.remote_recall import open_conversation
from tests.fake_engine import Script
from tests.fake_teacher import Body, FakeTeacher, serve_teacher
from tests.live import Live
from tests.synthesis_runs import asks, dropped, read_rows, write_rows

ITEMS: list[Any] = [
    {"id": 1, "type": "emotion", "context": [{"role": "user", "content": "Boo."}], "checks": [{"args": "fear"}]},
    {"id": 2, "type": "emotion", "context": [{"role": "user", "content": "Hm."}], "checks": [{"args": "joy"}]},
    {"id": 3, "type": "decision", "context": [{"role": "user", "content": "Go?"}], "checks": [{"args": "no"}]},
    {
        "id": 4,
        "type": "in\u2010character",
        "context": [{"role": "system", "content": "A knight."}, {"role": "user", "content": "Bitcoin?"}],
        "checks": [{"args": ["It\u2019s a currency"]}],
    },
]


def scores(out: Path) -> Any:
    return json.loads(out.with_suffix(".scores.json").read_text())


def choose(**said: Any) -> Any:
    """A model that answers a schema with the values that it is asked for by name, and else in words."""

    def reply(body: Body) -> str:
        if "response_format" not in body:
            return str(said.get("text", "Aye. I know nothing of that."))
        properties = body["response_format"]["json_schema"]["schema"]["properties"]
        return json.dumps({name: said[name] for name in properties if name in said})

    return reply


# RPEval


def test_rpeval_is_the_mean_of_its_classes(tmp_path: Path) -> None:
    data, out = str(write_rows(tmp_path / "eval_data.jsonl", ITEMS)), tmp_path / "out.jsonl"
    with serve_teacher(FakeTeacher(reply=choose(emotion="fear", text="x", decision="no"))) as model:
        assert rpeval.main([data, "--out", str(out), *asks(model.url)]) == 0
        assert rpeval.main([data, "--out", str(out), *asks(model.url)]) == 0
        assert len(model.asked) == len(ITEMS)
    told = scores(out)
    assert {kind: one["share"] for kind, one in told["classes"].items()} == {
        "in-character": 1.0,
        "emotion": 0.5,
        "decision": 1.0,
    }
    assert told["mean"] == pytest.approx(2.5 / 3)
    assert told["classes"]["emotion"]["effortless"] == 0.5


def test_rpeval_hears_a_word_that_gives_a_character_away(tmp_path: Path) -> None:
    data, out = str(write_rows(tmp_path / "eval_data.jsonl", ITEMS[3:])), tmp_path / "out.jsonl"
    with serve_teacher(FakeTeacher(reply=choose(text="IT'S A CURRENCY, of course."))) as model:
        assert rpeval.main([data, "--out", str(out), *asks(model.url)]) == 0
    assert scores(out)["mean"] == 0


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "broken_json"),
        ({**ITEMS[0], "type": "mood"}, "unknown_type"),
        ({**ITEMS[0], "checks": []}, "malformed"),
        ({**ITEMS[0], "checks": [{"args": "glee"}]}, "malformed"),
        ({**ITEMS[0], "context": [{"role": "narrator", "content": "x"}]}, "malformed"),
        ({**ITEMS[3], "checks": [{"args": "word"}]}, "malformed"),
    ],
)
def test_rpeval_scores_nothing_of_which_too_much_is_lost(
    tmp_path: Path, row: Any, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = str(write_rows(tmp_path / "eval_data.jsonl", [ITEMS[2], row])), tmp_path / "out.jsonl"
    with serve_teacher(FakeTeacher(reply=choose(decision="no"))) as model:
        assert rpeval.main([data, "--out", str(out), *asks(model.url)]) == 1
    assert list(dropped(out).values()) == [reason]
    assert "1 of 2 rows are lost" in " ".join(capsys.readouterr().out.split())
    assert not out.with_suffix(".scores.json").exists()


def test_garbage_is_no_answer(tmp_path: Path) -> None:
    data, out = str(write_rows(tmp_path / "eval_data.jsonl", ITEMS[:3])), tmp_path / "out.jsonl"
    with serve_teacher(FakeTeacher(reply=lambda _: "I would rather not.")) as model:
        assert rpeval.main([data, "--out", str(out), *asks(model.url)]) == 1
    assert set(dropped(out).values()) == {"no_choice"}


# Interviews and who reads them


@pytest.fixture
def interviewed(tmp_path: Path) -> Path:
    """Two characters asked two questions, twice."""
    cards = tmp_path / "cards.jsonl"
    profile = {"name": "Oru", "likes": "plums", "big_five": {"extraversion": 90}}
    write_rows(cards, [{"id": "oru", "persona": "A baker", "profile": profile}, {"id": "ama", "profile": profile}])
    questions = tmp_path / "questions.txt"
    questions.write_text("What do you like?\n\nAre you shy?\n")
    out = tmp_path / "interviews.jsonl"
    with serve_teacher(FakeTeacher(reply=choose(text="Plums! I talk all day."))) as model:
        arguments = [str(cards), "--questions", str(questions), "--times", "2", "--out", str(out)]
        assert interviews.main([*arguments, *asks(model.url)]) == 0
        assert any("A baker" in asked["messages"][0]["content"] for asked in model.asked)
    return out


def test_interviews_ask_everybody_everything(interviewed: Path) -> None:
    rows = read_rows(interviewed)
    assert len(rows) == len({row["id"] for row in rows}) == 8
    assert {row["answer"] for row in rows} == {"Plums! I talk all day."}
    assert rows[0]["traits"] == {"extraversion": 90}
    assert "Oru likes plums." in rows[0]["claims"]


def test_claims_are_read_by_a_model(interviewed: Path, tmp_path: Path) -> None:
    def read(body: Body) -> str:
        bears_out = "likes plums" in body["messages"][-1]["content"].partition("Claim: ")[2]
        return json.dumps({"asked": "yes" if bears_out else "no", "answer": "borne out" if bears_out else "left open"})

    out = tmp_path / "claims.jsonl"
    with serve_teacher(FakeTeacher(reply=read)) as judge:
        assert claims.main([str(interviewed), "--out", str(out), *asks(judge.url)]) == 0
    told = scores(out)
    assert (told["mean"], told["gain"], told["contradicted"]) == (1.0, 1.0, 0.0)
    assert set(told["by_character"]) == {"ama", "oru"}


def test_traits_are_read_sentence_by_sentence(interviewed: Path, tmp_path: Path) -> None:
    def read(body: Body) -> str:
        return json.dumps({"score": 5 if "talk" in body["messages"][-1]["content"] else 9})

    out = tmp_path / "traits.jsonl"
    with serve_teacher(FakeTeacher(reply=read)) as judge:
        assert traits.main([str(interviewed), "--out", str(out), *asks(judge.url)]) == 0
        assert len(judge.asked) == 16
    oru = scores(out)["oru"]["extraversion"]
    assert (oru["level"], oru["accuracy"], oru["inner"], oru["between"], oru["sentences"]) == (
        "high",
        1.0,
        None,
        1.0,
        4,
    )


def test_a_judge_without_a_name_is_refused(interviewed: Path, tmp_path: Path) -> None:
    assert claims.main([str(interviewed), "--out", str(tmp_path / "claims.jsonl")]) == 1


# A judge of judges


def test_a_judge_that_knows_who_speaks_is_fit(tmp_path: Path) -> None:
    from characters.library import load_library
    from models.evaluation.lineup import build_lineups

    speakers = {lineup.line: lineup.speaker for lineup in build_lineups(load_library(), 1)}

    def know(body: Body) -> str:
        line = body["messages"][-1]["content"].removeprefix("The line:\n").partition("\n\nThe characters:")[0]
        return json.dumps({"speaker": speakers[line]})

    out = tmp_path / "judge.jsonl"
    with serve_teacher(FakeTeacher(reply=know)) as judge:
        assert judge_check.main(["--out", str(out), *asks(judge.url)]) == 0
    assert (scores(out)["verdict"], scores(out)["share"]) == ("fit", 1.0)


def test_a_judge_that_guesses_is_found_out(tmp_path: Path) -> None:
    def first(body: Body) -> str:
        schema = body["response_format"]["json_schema"]["schema"]
        return json.dumps({"speaker": schema["properties"]["speaker"]["enum"][0]})

    out = tmp_path / "judge.jsonl"
    with serve_teacher(FakeTeacher(reply=first)) as judge:
        assert judge_check.main(["--out", str(out), *asks(judge.url)]) == judge_check.NOT_FIT_STATUS
    told = scores(out)
    assert (told["verdict"], told["chance"]) == ("guesses", 0.25)
    assert told["interval"][0] < 0.25 < told["interval"][1]


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["prompt", "option1", "option2", "option3", "option4", "gt"], *rows])
    return path


def test_personaeval_is_answered_with_weights(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "Drama.csv", [["Who, in\nmany lines?", "Ada", "Ben", "Cy", "Di", "Ben"]] * 30)
    out = tmp_path / "judge.jsonl"
    with serve_teacher(FakeTeacher(reply=lambda _: 'So: {"Ada": 0.1, "Ben": 0.7, "Cy": 0.1, "Di": 0.1}')) as judge:
        assert judge_check.main(["--data", str(data), "--out", str(out), *asks(judge.url)]) == 0
        assert judge.asked[0]["messages"] == [{"role": "user", "content": "Who, in\nmany lines?"}]
    assert scores(out)["verdict"] == "fit"


def test_a_fifth_option_is_one_only_where_it_is_given(tmp_path: Path) -> None:
    data = tmp_path / "Expertise.csv"
    with data.open("w", newline="") as file:
        told = csv.writer(file)
        told.writerow(["prompt", *(f"option{number}" for number in range(1, 6)), "gt"])
        told.writerow(["Who, of five?", "Child", "Teen", "Student", "Graduate", "Expert", "Expert"])
        told.writerow(["Who, of four?", "Child", "Teen", "Student", "Graduate", "", "Teen"])
    out = tmp_path / "judge.jsonl"

    def weigh(body: Body) -> str:
        options = body["response_format"]["json_schema"]["schema"]["required"]
        return json.dumps({option: {"Expert": 0.6, "Teen": 0.4}.get(option, 0) for option in options})

    with serve_teacher(FakeTeacher(reply=weigh)) as judge:
        judge_check.main(["--data", str(data), "--out", str(out), *asks(judge.url)])
    assert {row["said"]: row["options"] for row in read_rows(out)} == {"Expert": 5, "Teen": 4}


def test_a_row_whose_speaker_is_no_option_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_csv(tmp_path / "Drama.csv", [["Who?", "Ada", "Ben", "Cy", "Di", "Eve"]])
    out = tmp_path / "judge.jsonl"
    with serve_teacher() as judge:
        assert judge_check.main(["--data", str(data), "--out", str(out), *asks(judge.url)]) == 1
        assert not judge.asked
    assert list(dropped(out).values()) == ["malformed"]
    assert "1 of 1 rows are lost" in " ".join(capsys.readouterr().out.split())


def test_equal_weights_name_nobody(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "Drama.csv", [["Who?", "Ada", "Ben", "Cy", "Di", "Ada"]])
    out = tmp_path / "judge.jsonl"
    with serve_teacher(FakeTeacher(reply=lambda _: '{"Ada": 0.25, "Ben": 0.25, "Cy": 0.25, "Di": 0.25}')) as judge:
        judge_check.main(["--data", str(data), "--out", str(out), *asks(judge.url)])
    assert scores(out)["share"] == 0


def test_a_file_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "Drama.csv"
    data.write_text("a,b\n1,2\n")
    arguments = ["--data", str(data), "--out", str(tmp_path / "judge.jsonl"), *asks("http://127.0.0.1:9/v1")]
    assert judge_check.main(arguments) == 1
    assert "no column" in capsys.readouterr().err


# Recall and drift


def test_recall_is_measured_over_a_socket(tmp_path: Path) -> None:
    out = tmp_path / "recall.jsonl"
    with serve_teacher(FakeTeacher(reply=lambda _: "Bah.")) as model:
        assert remote_recall.main(["--limit", "2", "--out", str(out), *asks(model.url)]) == 0
        assert max(len(body["messages"]) for body in model.asked) > 30
    told = scores(out)
    assert (told["profile_recall"], told["user_recall"]) == (0, 0)
    assert told["replies"] == sum(len(row["replies"]) for row in read_rows(out))


def test_long_conversations_ask_for_the_card_all_along() -> None:
    [episode] = build_long_episodes(1, 1, 100)
    assert len(episode.questions) == 100
    assert build_long_episodes(1, 1, 100) == [episode]
    for ten in range(10):
        kinds = [question.kind for question in episode.questions[ten * 10 : ten * 10 + 10]]
        assert kinds.count("field") == 4
    told: set[str] = set()
    for question in episode.questions:
        if question.kind == "tell":
            told.add(question.about)
        assert question.kind != "recall" or question.about in told


def test_drift_is_seen_in_who_forgets_their_card(tmp_path: Path) -> None:
    episodes = build_long_episodes(6, 1, 20)

    def forget(body: Body) -> str:
        head = body["messages"][0]["content"]
        episode = next(one for one in episodes if one.character.card.name in head)
        examples = sum(line.role == "user" for line in open_conversation(episode))
        turn = sum(message["role"] == "user" for message in body["messages"]) - examples
        asked = episode.questions[turn - 1]
        if turn <= 10 and asked.kind == "field":
            return episode.character.values[asked.about].spoken
        return "Bah."

    out = tmp_path / "drift.jsonl"
    with serve_teacher(FakeTeacher(reply=forget)) as model:
        arguments = ["--turns", "20", "--limit", "6", "--max-model-len", "100000", "--out", str(out)]
        assert drift.main([*arguments, *asks(model.url)]) == 0
    card = scores(out)["card"]
    assert card["steps"][0]["share"] > 0.9
    assert card["steps"][1]["share"] == 0
    assert card["interval"][1] < 0
    assert out.with_suffix(".svg").read_text().lstrip().startswith("<?xml")


def test_a_short_context_keeps_the_card_and_the_last_words(tmp_path: Path) -> None:
    out = tmp_path / "drift.jsonl"
    with serve_teacher(FakeTeacher(reply=lambda _: "Bah. " * 30)) as model:
        arguments = ["--turns", "30", "--limit", "1", "--max-model-len", "5000", "--out", str(out)]
        assert drift.main([*arguments, *asks(model.url)]) == 0
    last = model.asked[-1]["messages"]
    assert last[0] == model.asked[0]["messages"][0]
    assert last[-1]["role"] == "user"
    assert len(last) < 40


@pytest.mark.anyio
async def test_the_benchmark_of_drift_leaves_the_history_to_the_server(live: Live, tmp_path: Path) -> None:
    live.engine.script = Script(says=("Bah.",))
    arguments = parse_arguments(["--conversations", "2", "--turns", "10", "--out", str(tmp_path)])
    assert await anyio.to_thread.run_sync(main, build_command(arguments, str(live.client.base_url))) == 0
    assert [len(row["replies"]) for row in read_rows(tmp_path / "drift.jsonl")] == [10, 10]


@pytest.mark.anyio
async def test_drift_is_measured_in_sessions_and_leaves_none(live: Live, tmp_path: Path) -> None:
    live.engine.script = Script(says=("Bah.", "Humbug."))
    out = tmp_path / "drift.jsonl"
    arguments = ["--sessions", "--url", str(live.client.base_url), "--turns", "10", "--limit", "1", "--fidelity", "2"]
    before = (await live.client.get("/characters")).json()
    status = await anyio.to_thread.run_sync(drift.main, [*arguments, "--out", str(out)])
    assert status == 0
    assert len(read_rows(out)[0]["replies"]) == 10
    assert {params.n for params in live.engine.params} == {2}
    assert (await live.client.get("/characters")).json() == before
    assert (await live.client.get("/sessions")).json()["sessions"] == []


# Chats


@pytest.mark.parametrize(
    ("reply", "finish_reason", "faults"),
    [
        ("Aye, aye. I am Oru.", "stop", []),
        ("No, no, no! Never, never.", "stop", []),
        ("I wait... and wait... and wait", "stop", []),
        ("---------------- Well.", "stop", []),
        ("with trumpets silver silver silver silver silver", "stop", ["loops"]),
        ("One might speculateateateateate", "stop", ["loops"]),
        ("I know it: I know it: I know it: I know it:", "length", ["loops", "no end"]),
        ("<|eot_id|>", "stop", ["markup"]),
        ("so you  said", "stop", ["said before"]),
    ],
)
def test_a_newcomer_sees_what_is_wrong_whatever_was_asked(reply: str, finish_reason: str, faults: list[str]) -> None:
    assert chats.find_faults(reply, finish_reason, ["Hello.", "So you said"]) == faults


@pytest.mark.anyio
async def test_a_newcomers_chats_are_there_to_read_and_leave_no_session(live: Live, tmp_path: Path) -> None:
    live.engine.script = Script(says=("Bah.",))
    out = tmp_path / "chats.jsonl"
    arguments = ["--url", str(live.client.base_url), "--characters", "lyra,hasan", "--out", str(out)]
    assert await anyio.to_thread.run_sync(chats.main, arguments) == 0
    assert scores(out)["said before"] == {**scores(out)["said before"], "of": 32, "share": 30 / 32}
    assert len({params.seed for params in live.engine.params}) == 16
    page = out.with_suffix(".md").read_text()
    assert "## hasan" in page
    assert "> What's 2+2?\n\nBah. **[said before]**" in page
    assert (await live.client.get("/sessions")).json()["sessions"] == []


def test_chats_need_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chats.main(["--out", str(tmp_path / "chats.jsonl")]) == 1
    assert "name its --url" in capsys.readouterr().err
