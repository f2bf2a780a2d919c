"""A small tree laid out as PersonaGym's, in words of our own, a run over it, and a judge that answers by its rules."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.evaluation import personagym
from models.evaluation.personagym_tree import TASKS
from tests.fake_teacher import Body, FakeTeacher

PERSONAS = (
    "A lighthouse keeper from Brittany, who paints birds and hates visitors",
    "A retired acrobat of 71 who runs a chess café",
    "An engineer from Çeşme who builds kites",
)
RUBRIC = (
    "Task {task}. Score = 1: not at all. Score = 5: as it should be.\n---\n{{score_example}}\n---\n"
    'Persona: {{persona}}\nQuestion: {{question}}\nResponse: {{response}}\nEnd with "Therefore, the final score is …".'
)
PROMPTS = {
    "rubric_grading/sys_prompt.txt": "You are a fair judge.",
    "rubric_grading/prompt.txt": "Judge each.\n\nFormat:\n"
    + "".join(f"({number}) Evaluation:\n" for number in range(1, 6))
    + "\nRubrics:\n{rubrics}\n",
    "score_examples/prompt.txt": "Write an example for each score.\n{persona}\n{question}\n{rubric}\n"
    "Score 1:  Response -",
    "score_examples/parallel_examples.txt": "Write examples for each rubric.\nRubric 1 Examples:\n{rubrics}",
}
QUESTIONS = len(PERSONAS) * len(TASKS) * 10
LIGHT = len(PERSONAS) * len(TASKS)
_RESPONSE = re.compile(r"Response: (.*)")


def write_tree(root: Path, personas: Sequence[str] = PERSONAS, each: int = 10) -> Path:
    """The tree, with `each` questions of each task."""
    for name, text in {f"rubrics/{task}.txt": RUBRIC.format(task=task) for task in TASKS}.items():
        _write(root / name, text)
    for name, text in PROMPTS.items():
        _write(root / "prompts" / name, text)
    for persona in personas:
        asked = {task: [f"{task}, number {number}: what do you do?" for number in range(each)] for task in TASKS}
        _write(root / "questions" / "benchmark-v1" / f"{persona}.json", json.dumps(asked))
    return root


def gym(tree: Path, out: Path, teacher: FakeTeacher, *arguments: str) -> int:
    """The command against a teacher that is both model and judge, each under a name of its own. Returns its status."""
    named = ["--data", str(tree), "--out", str(out), "--url", teacher.url, "--model", "model"]
    judge = ["--judge-url", teacher.url, "--judge-model", "judge"]
    return personagym.main([*named, *judge, "--concurrency", "8", "--attempts", "1", *arguments])


def play(body: Body) -> str:
    """Answers with the last digit of the question, and judges an answer by the digit that it ends with."""
    told = body["messages"][-1]["content"]
    if body["model"] == "model":
        return f"I answer {told.partition('number ')[2][:1]}"
    if "response_format" in body:
        schema = body["response_format"]["json_schema"]["schema"]["properties"]
        if "score" in schema:
            return json.dumps({"reason": "By the rule.", "score": judge_digit(told)})
        return json.dumps({name: f"example of {name}" for name in schema})
    if told.startswith("Write examples for each"):
        count = len(re.findall(r"^Rubric \d+:$", told, re.MULTILINE))
        return "\n".join(f"Rubric {number} Examples:\n{tell_examples()}" for number in range(1, count + 1))
    if told.startswith("Write an example"):
        return tell_examples()
    answers = _RESPONSE.findall(told)
    return "\n".join(
        f"({number}) Evaluation: It is so. Therefore, the final score is {judge_digit(f'Response: {answer}')}."
        for number, answer in enumerate(answers, 1)
    )


def tell_examples() -> str:
    return "\n".join(f"Score {score}: Response - An answer,\nworth {score}." for score in range(1, 6))


def judge_digit(told: str) -> int:
    """1 to 5, over and over."""
    return int(_RESPONSE.findall(told)[-1][-1]) % 5 + 1


def read_scores(out: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads(out.with_name(out.name.replace(".jsonl", ".scores.json")).read_text())
    return scores


def count_calls(teacher: FakeTeacher) -> dict[str, int]:
    """Requests to the model, and to the judge."""
    models = [body["model"] for body in teacher.asked]
    return {name: models.count(name) for name in ("model", "judge")}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
