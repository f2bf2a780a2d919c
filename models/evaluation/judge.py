"""What a judge says, read: verdicts and examples, as text in PersonaGym's forms or as JSON under our schema.

Pure functions. A verdict that can't be read is None or BadAnswer, never a score.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from models.synthesis.pipeline.task import BadAnswer
from models.synthesis.teachers.teacher import Answer

SCALE = (1, 2, 3, 4, 5)
REASON_CHARACTERS = 300
# As many bytes as those may take, with what JSON puts around them.
VERDICT_TOKENS = 4 * REASON_CHARACTERS + 100
VERDICT_SCHEMA = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "maxLength": REASON_CHARACTERS},
        "score": {"type": "integer", "enum": list(SCALE)},
    },
    "required": ["reason", "score"],
    "additionalProperties": False,
}
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_PART = re.compile(r"^[ \t>*#_]*\((\d{1,3})\)[ \t*_]*Evaluation[ \t*_]*:", re.MULTILINE | re.IGNORECASE)
# `is 4`, `is: 4`, `is **4**`, `is 4/5`, `of four`; a fraction is caught, to be refused.
_SCORE = re.compile(
    r"final\s+score\s*(?:is|of|would\s+be)?[\s:=*_\"'“‘`(\[]*(\d+|one|two|three|four|five)\b(\.\d*[1-9])?",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(
    r"^[ \t>*#_-]*Score[ \t]*=?[ \t]*([1-5])[ \t*_]*[:.)]?[ \t*_]*(?:Response\b[ \t*_]*[-–:]*)?", re.MULTILINE
)
_RUBRIC = re.compile(
    r"^[ \t>*#_]*Rubric[ \t]*(\d{1,3})[ \t]*Examples?[ \t*_]*:?[ \t*_]*$", re.MULTILINE | re.IGNORECASE
)
_EXAMPLES = tuple(f"score_{score}" for score in SCALE)


def parse_verdicts(text: str, count: int) -> list[int | None]:
    """The score of each of `count` evaluations, in order; None where there is none on the scale.

    Evaluations are numbered from 1 to `count`: where they aren't, nobody knows which answer is meant, and all are None.
    A single one may go without its number.
    """
    marks = list(_PART.finditer(text))
    if not marks and count == 1:
        return [_read_score(text)]
    if [int(mark[1]) for mark in marks] != list(range(1, count + 1)):
        return [None] * count
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [_read_score(text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]


def read_verdict(answer: Answer) -> tuple[int, str]:
    """Score and reason of a verdict under the schema. Raises BadAnswer."""
    said = _load(answer, "no_verdict")
    score, reason = said.get("score"), said.get("reason")
    if isinstance(score, bool) or score not in SCALE or not isinstance(reason, str):
        raise BadAnswer("no_verdict", answer.text)
    return int(score), reason


def build_examples_schema(characters: int) -> dict[str, Any]:
    """An answer for each score, each of at most so many characters."""
    return {
        "type": "object",
        "properties": {name: {"type": "string", "maxLength": characters} for name in _EXAMPLES},
        "required": list(_EXAMPLES),
        "additionalProperties": False,
    }


def read_schema_examples(answer: Answer) -> list[str]:
    """The examples of one question, from the worst to the best. Raises BadAnswer."""
    said = _load(answer, "no_examples")
    texts = [said.get(name) for name in _EXAMPLES]
    if not all(isinstance(text, str) for text in texts):
        raise BadAnswer("no_examples", answer.text)
    return [str(text).strip() for text in texts]


def parse_examples(text: str, count: int) -> list[list[str]]:
    """For each of `count` questions the examples from the worst to the best, of any number of lines each.

    Raises BadAnswer where one lacks a score, or has it twice.
    """
    marks = list(_RUBRIC.finditer(text))
    if not marks and count == 1:
        return [_split_examples(text)]
    if [int(mark[1]) for mark in marks] != list(range(1, count + 1)):
        raise BadAnswer("no_examples", text)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    return [_split_examples(text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]


def tell_examples(examples: Sequence[str]) -> str:
    """As they stand in a rubric."""
    return "\n\n".join(f"Score {score}: Response - {text}" for score, text in zip(SCALE, examples, strict=True))


def _read_score(text: str) -> int | None:
    """The last final score that is told."""
    found = list(_SCORE.finditer(text))
    if not found or found[-1][2]:
        return None
    word = found[-1][1].lower()
    score = _WORDS.get(word) or (int(word) if len(word) == 1 else 0)
    return score if score in SCALE else None


def _split_examples(text: str) -> list[str]:
    marks = list(_EXAMPLE.finditer(text))
    if [int(mark[1]) for mark in marks] != list(SCALE):
        raise BadAnswer("no_examples", text)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    examples = [text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)]
    if not all(examples):
        raise BadAnswer("no_examples", text)
    return examples


def _load(answer: Answer, reason: str) -> Mapping[str, Any]:
    try:
        said = orjson.loads(answer.text)
    except orjson.JSONDecodeError as error:
        raise BadAnswer("cut_short" if answer.is_cut else reason, answer.text) from error
    if not isinstance(said, dict):
        raise BadAnswer(reason, answer.text)
    return said
