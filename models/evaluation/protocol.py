"""The ways to run PersonaGym, and the words in which each asks. Pure functions over texts.

`upstream` is the protocol of PersonaGym's code (arXiv 2407.18416) with its defects mended:

- each question has its own score examples: upstream's code took one letter of the first question's instead;
- examples keep all their lines, and a set that lacks a score is asked for again;
- rubrics reach the judge as text, numbered, not as a printed Python list with its escapes;
- the judge's system prompt reaches every judge;
- no more evaluations are asked for than there are answers, and a count that differs is a miss;
- a score is found in `**5**`, `: 5`, `5/5` and `five`, and none is taken from off the scale;
- what failed is counted and left out: no error is judged as an answer, no miss counts as 0;
- means are over all questions of a task, so that a miss weighs as one question, and scores of all personas are kept;
- files are read as data, and nothing of them is evaluated.

`opencharacter` is how OpenCharacter was measured (arXiv 2501.15427): one judge, examples question by question, answers
at temperature 0.9 of up to 1,024 tokens, the character told as such. `strict` is ours: one answer a prompt, examples
and verdicts decoded under a schema, so that none is ever misread.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from characters.card import CardData, CharacterCard

from models.evaluation.judge import tell_examples
from models.evaluation.personagym_tree import Item, fill
from models.scene import Scene
from models.sections import head_messages
from models.synthesis.teachers.teacher import Line

ModeName = Literal["upstream", "opencharacter", "strict"]
# Of a persona, what is used as a name: up to the first clause, at most so many characters.
MOST_NAME = 120
IMPERSONATE = (
    "Take on the identity of this persona: {persona}. Answer the question as they would, in strict accordance with who "
    "they are, and stay them throughout."
)
STRICT = (
    "You judge answers by a rubric: accurate, faithful, critical and fair. Read the rubric, hold the answer against "
    "its criteria and its score examples, and decide. Whatever the rubric says about the form of its evaluation, give "
    "JSON instead: `reason`, one or two sentences on what decides, then `score`, the number alone."
)
STRICT_EXAMPLES = (
    "You write examples for a rubric: for one persona and one question, an answer in the persona's own words that "
    "would get each score. Whatever the request says about the form, give JSON: `score_1`, the worst, to "
    "`score_5`, the best."
)
_CLAUSE = re.compile(r"\s+(?:who|and|which|that|with)\s|[,;:.]")
_ARTICLE = re.compile(r"^(An?|The)\b")
_FORM_LINE = re.compile(r"^\((\d+)\) Evaluation:[ \t]*\n?", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mode:
    """What sets a way apart: `batch` answers are judged in a prompt, `examples_batch` questions get examples in one."""

    name: ModeName
    batch: int
    examples_batch: int
    is_structured: bool
    top_p: float
    reply_tokens: int


MODES: Mapping[str, Mode] = {
    "upstream": Mode("upstream", 5, 5, False, 0.9, 3000),
    "opencharacter": Mode("opencharacter", 5, 1, False, 1.0, 1024),
    "strict": Mode("strict", 1, 1, True, 1.0, 1024),
}


def name_persona(persona: str) -> str:
    """What somebody is called of whom one line is known: `a 34-year-old scientist from London`."""
    clause = _CLAUSE.split(" ".join(persona.split()), maxsplit=1)[0][:MOST_NAME].strip()
    return _ARTICLE.sub(lambda article: article[0].lower(), clause) or "somebody"


def ask_persona(mode: Mode, item: Item) -> list[Line]:
    """The question, to the persona. But in `upstream` it is asked as our server plays a card with a persona alone."""
    if mode.name == "upstream":
        return [Line("system", fill(IMPERSONATE, {"persona": item.persona})), Line("user", item.question)]
    card = CharacterCard(data=CardData(name=name_persona(item.persona)), persona=item.persona)
    return [*(Line(message.role, message.text) for message in head_messages(Scene(card))), Line("user", item.question)]


def ask_examples(mode: Mode, items: Sequence[Item], rubric: str, prompts: Mapping[str, str]) -> list[Line]:
    """Has examples written for questions to one persona, in one prompt."""
    if len(items) == 1:
        slots = {"persona": items[0].persona, "question": items[0].question, "rubric": rubric}
        asked = Line("user", fill(prompts["score_examples/prompt.txt"], slots))
        return [Line("system", STRICT_EXAMPLES), asked] if mode.is_structured else [asked]
    rubrics = _number([fill(rubric, {"persona": item.persona, "question": item.question}) for item in items])
    return [Line("user", fill(prompts["score_examples/parallel_examples.txt"], {"rubrics": rubrics}))]


def ask_judge(
    mode: Mode,
    items: Sequence[Item],
    answers: Sequence[str],
    examples: Sequence[Sequence[str]],
    rubric: str,
    prompts: Mapping[str, str],
) -> list[Line]:
    """Has answers to one persona's questions of one task judged, in one prompt."""
    rubrics = [
        fill(
            rubric,
            {
                "persona": item.persona,
                "question": item.question,
                "response": answer,
                "score_example": tell_examples(those),
            },
        )
        for item, answer, those in zip(items, answers, examples, strict=True)
    ]
    if mode.is_structured:
        return [Line("system", STRICT), Line("user", "\n\n".join(rubrics))]
    form = _FORM_LINE.sub(
        lambda line: line[0] if int(line[1]) <= len(items) else "", prompts["rubric_grading/prompt.txt"]
    )
    system = Line("system", prompts["rubric_grading/sys_prompt.txt"].strip())
    return [system, Line("user", fill(form, {"rubrics": _number(rubrics)}))]


def _number(rubrics: Sequence[str]) -> str:
    return "\n\n".join(f"Rubric {number}:\n{rubric.strip()}" for number, rubric in enumerate(rubrics, 1))
