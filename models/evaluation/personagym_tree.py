"""PersonaGym's own files, read as they are: personas with their questions, rubrics, prompts.

The layout is that of github.com/vsamuel2003/PersonaGym: `questions/benchmark-v1/{persona}.json`, `rubrics/{task}.txt`,
`prompts/`, and `code/personas.py`, which needn't be there: personas are named by their files. Nothing of it is run.
"""

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import orjson

from models.synthesis.teachers.teacher import Stop

TASKS = ("Expected Action", "Toxicity", "Linguistic Habits", "Persona Consistency", "Action Justification")
QUESTIONS = 10
QUESTIONS_FOLDER = "benchmark-v1"
MOST_FILE_BYTES = 1 << 20
MOST_PERSONAS = 100_000
# Of what is wrong with a tree, how much is told at once.
MOST_FAULTS = 5
# What the templates leave open, by file.
RUBRIC_SLOTS = ("score_example", "persona", "question", "response")
PROMPTS: Mapping[str, Sequence[str]] = {
    "rubric_grading/sys_prompt.txt": (),
    "rubric_grading/prompt.txt": ("rubrics",),
    "score_examples/prompt.txt": ("persona", "question", "rubric"),
    "score_examples/parallel_examples.txt": ("rubrics",),
}
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Item:
    """One question to one persona, the `index`-th of its task."""

    persona: str
    task: str
    index: int
    question: str

    @property
    def id(self) -> str:
        return f"{self.persona}/{self.task}/{self.index}"


@dataclass(frozen=True, slots=True)
class Tree:
    """What there is to ask, and what answers are judged by. `digest` stands for all of it."""

    items: tuple[Item, ...]
    rubrics: Mapping[str, str]
    prompts: Mapping[str, str]
    digest: str


def load_tree(root: Path, *, light: bool, limit: int | None = None, questions: str = QUESTIONS_FOLDER) -> Tree:
    """The tree at `root`, of the first `limit` personas; `light` takes each task's first question.

    Raises Stop naming what is missing or wrong, several faults at once.
    """
    if not root.is_dir():
        raise Stop(f"{root}: there is no such folder")
    faults: list[str] = []
    rubrics = {task: _read_template(root / "rubrics" / f"{task}.txt", RUBRIC_SLOTS, faults) for task in TASKS}
    prompts = {name: _read_template(root / "prompts" / name, slots, faults) for name, slots in PROMPTS.items()}
    folder = root / "questions" / questions
    asked = {path.stem: _read_questions(path, faults, light=light) for path in _list_questions(folder, faults)}
    _compare_personas(root / "code" / "personas.py", asked.keys(), faults)
    if faults:
        more = f" (and {len(faults) - MOST_FAULTS} more)" if len(faults) > MOST_FAULTS else ""
        raise Stop(f"{root} is not as PersonaGym has it: {'; '.join(faults[:MOST_FAULTS])}{more}")
    items = tuple(
        Item(persona, task, index, question)
        for persona, by_task in list(asked.items())[:limit]
        for task in TASKS
        for index, question in enumerate(by_task[task][: 1 if light else None])
    )
    return Tree(items, rubrics, prompts, _digest(items, rubrics, prompts))


def fill(template: str, slots: Mapping[str, str]) -> str:
    """`template` with its slots filled, once: what fills one is not searched for others."""
    return _SLOT.sub(lambda slot: slots.get(slot[1], slot[0]), template)


def _read_text(path: Path) -> str:
    """Raises ValueError saying why it can't be read."""
    try:
        if path.stat().st_size > MOST_FILE_BYTES:
            raise ValueError(f"{path.name} has more than {MOST_FILE_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.parent.name}/{path.name} can't be read ({error})") from error


def _read_template(path: Path, slots: Sequence[str], faults: list[str]) -> str:
    try:
        text = _read_text(path)
    except ValueError as error:
        faults.append(str(error))
        return ""
    if missing := [slot for slot in slots if f"{{{slot}}}" not in text]:
        faults.append(f"{path.name} lacks {', '.join(f'{{{slot}}}' for slot in missing)}")
    return text


def _list_questions(folder: Path, faults: list[str]) -> Iterator[Path]:
    paths = sorted(folder.glob("*.json"))
    if not paths:
        faults.append(f"there are no questions in {folder}")
    if len(paths) > MOST_PERSONAS:
        faults.append(f"{folder} has more than {MOST_PERSONAS} personas")
    return iter(paths[:MOST_PERSONAS])


def _read_questions(path: Path, faults: list[str], *, light: bool) -> Mapping[str, Sequence[str]]:
    try:
        asked = orjson.loads(_read_text(path))
    except ValueError as error:
        faults.append(f"{path.name}: {error}")
        return {}
    faults += [f"{path.name}: {fault}" for fault in _find_faults(asked, light=light)]
    return asked if isinstance(asked, dict) else {}


def _find_faults(asked: object, *, light: bool) -> Iterator[str]:
    if not isinstance(asked, dict):
        yield "no object of tasks"
        return
    for task in asked.keys() - set(TASKS):
        yield f"unknown task {task!r}"
    for task in TASKS:
        questions = asked.get(task)
        if not isinstance(questions, list) or not all(isinstance(text, str) and text.strip() for text in questions):
            yield f"{task} is no list of questions"
        # A folder of first questions alone has one of each.
        elif len(questions) != QUESTIONS and not (light and len(questions) == 1):
            yield f"{task} has {len(questions)} questions, not {QUESTIONS}"


def _compare_personas(path: Path, found: AbstractSet[str], faults: list[str]) -> None:
    """Where the list of personas is there, each of them must have its file, and each file its persona."""
    if not path.exists():
        return
    try:
        listed = _read_list(_read_text(path), "benchmark_personas")
    except (ValueError, SyntaxError) as error:
        faults.append(f"code/personas.py: {error}")
        return
    faults += [f"no questions for {persona!r}" for persona in sorted(listed - found)]
    faults += [f"{persona!r} is not in code/personas.py" for persona in sorted(found - listed)]


def _read_list(source: str, name: str) -> frozenset[str]:
    """The texts of the list that a Python file calls `name`, without running it. Raises ValueError or SyntaxError."""
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == name for target in statement.targets
        ):
            return frozenset(str(text) for text in ast.literal_eval(statement.value))
    raise ValueError(f"it has no list {name}")


def _digest(items: Sequence[Item], rubrics: Mapping[str, str], prompts: Mapping[str, str]) -> str:
    told = [[item.id, item.question] for item in items], sorted(rubrics.items()), sorted(prompts.items())
    return hashlib.sha256(orjson.dumps(told)).hexdigest()
