"""Answers of characters, for judges to read: `python -m models.evaluation interviews --url … --model … --out …`.

Each character is asked each question by itself, `--times` over, with its card as the server lays it out. Characters are
files of cards, or profiles that were synthesized, as JSONL; without any the ones that ship. Rows are `{id, character,
time, question, answer, claims, traits}`: what the card claims and how much of each trait it names.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import orjson
from characters.card import CardError, CharacterCard, build_card, parse_card
from characters.library import load_library
from characters.profile import Profile
from characters.temperament import POLES
from pydantic import ValidationError
from rich.console import Console

from models.evaluation.scores import conclude
from models.evaluation.statements import build_statements
from models.scene import Scene
from models.sections import closing_messages, head_messages
from models.synthesis.pipeline.command import Plan, build_parser
from models.synthesis.pipeline.journal import read_lines
from models.synthesis.pipeline.task import Asking, BadAnswer, Row, Task
from models.synthesis.teachers.teacher import Answer, Line, Question, Stop

REPLY_TOKENS = 512
MOST_QUESTION = 2000
# What anybody can be asked, and what each card answers in its own way.
QUESTIONS = (
    "Good evening. Who are you?",
    "Where do you come from, and what was it like there?",
    "What do you do all day?",
    "What do you like more than you should?",
    "What are you afraid of?",
    "Who is your best friend, and how did you meet?",
    "What do people see first when they see you?",
    "How old are you?",
    "What is it that you still want to do?",
    "Somebody pushes in front of you in a line. What do you do?",
    "Tell me something that you have never told anybody.",
    "What is the capital of France, and would you go there?",
)


@dataclass(frozen=True, slots=True)
class Guest:
    """Who is asked: the messages that make a model the character before the question, and what it can be held to."""

    name: str
    lines: Sequence[Line]
    claims: Sequence[str]
    traits: dict[str, int]


@dataclass(frozen=True, slots=True)
class Interviewer:
    """Has a question answered. See `models.synthesis.pipeline.task.Writer`."""

    guests: Sequence[Guest]
    temperature: float
    seed: int

    async def write(self, task: Task, asking: Asking) -> Row:
        guest, asked = self.guests[task.content["place"]], task.content["question"]
        lines = [*guest.lines, Line("user", asked)]
        answer = await asking.ask(Question(lines, REPLY_TOKENS, self.temperature, task.seed(self.seed)), read_reply)
        told = {"character": guest.name, "time": task.content["time"], "question": asked, "answer": answer}
        return {**told, "claims": list(guest.claims), "traits": guest.traits}


def read_reply(answer: Answer) -> str:
    """What was said. Raises BadAnswer where that is nothing."""
    if not answer.text.strip():
        raise BadAnswer("empty")
    return answer.text.strip()


def invite(name: str, card: CharacterCard) -> Guest:
    """The guest that a card makes."""
    scene = Scene(card)
    lines = [Line(message.role, message.text) for message in (*head_messages(scene), *closing_messages(scene))]
    traits = card.profile.big_five.model_dump() if card.profile else {}
    return Guest(name, lines, build_statements(card), {trait: traits[trait] for trait in POLES if trait in traits})


def load_cards(paths: Sequence[Path]) -> dict[str, CharacterCard]:
    """Cards by name; without files those that ship. Raises Stop naming the file that has none."""
    if not paths:
        return load_library()
    cards: dict[str, CharacterCard] = {}
    for path in paths:
        try:
            cards |= _read_profiles(path) if path.suffix == ".jsonl" else {path.stem: parse_card(_load(path))}
        except (CardError, ValidationError, OSError, ValueError) as error:
            raise Stop(f"{path} can't be read as a character: {error}") from error
    return cards


def _load(path: Path) -> Any:  # a card's JSON, whatever is in it
    return orjson.loads(path.read_bytes())


def _read_profiles(path: Path) -> dict[str, CharacterCard]:
    """The cards of rows `{id, persona, profile}`."""
    return {
        str(row.get("id", number)): build_card(
            Profile.model_validate(row.get("profile")), str(row.get("persona") or "")[:4000]
        )
        for number, row in enumerate(read_lines(path))
    }


def load_questions(path: Path | None) -> Sequence[str]:
    """A question a line; without a file our own. Raises Stop."""
    if path is None:
        return QUESTIONS
    try:
        questions = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise Stop(f"{path} can't be read: {error}") from error
    if not questions or any(len(question) > MOST_QUESTION for question in questions):
        raise Stop(f"{path} has no questions, or one of more than {MOST_QUESTION} characters")
    return questions


def build_plan(options: argparse.Namespace) -> Plan:
    """What the arguments ask for. Raises Stop."""
    cards = dict(list(load_cards(options.cards).items())[: options.limit])
    guests = [invite(name, card) for name, card in cards.items()]
    questions = load_questions(options.questions)
    asked = list(product(range(options.times), range(len(guests)), questions))

    def tasks() -> Iterator[Task]:
        for time, place, question in asked:
            content = {"place": place, "question": question, "time": time}
            yield Task(f"{guests[place].name}/{time}/{questions.index(question)}", content)

    identity = {"guests": [guest.name for guest in guests], "questions": questions, "times": options.times}
    writer = Interviewer(guests, options.temperature, options.seed)
    return Plan("interviews", options.out, tasks, writer, len(asked), identity)


def show_answers(rows: list[Row], console: Console) -> dict[str, Any]:
    """How many there are."""
    told = {"answers": len(rows), "characters": len({row["character"] for row in rows})}
    console.print(f"{told['answers']} answers of {told['characters']} characters", highlight=False)
    return told


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(__doc__)
    parser.add_argument("cards", nargs="*", type=Path, help="cards as JSON, or profiles as JSONL")
    parser.add_argument("--questions", type=Path, help="a file with a question a line (default: our own twelve)")
    parser.add_argument("--times", type=int, choices=range(1, 33), metavar="1…32", default=1)
    parser.set_defaults(temperature=0.7)
    return conclude(build_plan, parser.parse_args(arguments), show_answers)


if __name__ == "__main__":
    sys.exit(main())
