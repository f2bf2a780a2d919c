"""Profile recall of any server: `python -m models.evaluation recall --url … --model … --out build/recall.jsonl`.

The characters, questions and verdicts of `models.evaluation.recall`, over OpenAI's chat API: the card as a system
message, laid out as the server does, and each episode as one conversation. A row is an episode.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from models.evaluation.episodes import Episode, build_episodes
from models.evaluation.interviews import read_reply
from models.evaluation.play import Reply
from models.evaluation.recall import judge
from models.evaluation.scores import conclude
from models.scene import Scene
from models.sections import closing_messages, head_messages
from models.synthesis.pipeline.command import Plan, build_parser
from models.synthesis.pipeline.task import Asking, Row, Task
from models.synthesis.teachers.teacher import Answer, Line, Question

REPLY_TOKENS = 200
CHARACTERS = 200
MEASURES = ("profile_recall", "style_adherence", "user_recall", "markup_leaks", "unfinished")
# Nobody is asked for profiles here.
NOT_ASKED = ("valid_profiles",)


@dataclass(frozen=True, slots=True)
class Player:
    """Has an episode played. See `models.synthesis.pipeline.task.Writer`."""

    episodes: Sequence[Episode]
    temperature: float
    seed: int

    async def write(self, task: Task, asking: Asking) -> Row:
        episode = self.episodes[task.content["number"]]
        lines, tail = open_conversation(episode), close_prompt(episode)
        replies = []
        for question in episode.questions:
            lines.append(Line("user", question.text))
            said = fit_lines([*lines[:-1], *tail, lines[-1]], asking)
            asked = Question(said, REPLY_TOKENS, self.temperature, task.seed(self.seed))
            text, finished = await asking.ask(asked, _read)
            lines.append(Line("assistant", text))
            replies.append({"text": text, "finished": finished})
        return {"replies": replies}


def open_conversation(episode: Episode) -> list[Line]:
    """The messages before the first of the user's: the card, and the greeting."""
    card, user = episode.character.card, episode.character.user
    head = [Line(message.role, message.text) for message in head_messages(Scene(card, user))]
    return [*head, *(Line("assistant", card.expand(text, user.name)) for text in card.greetings()[:1])]


def close_prompt(episode: Episode) -> list[Line]:
    """What the card has said again before the user's last message."""
    scene = Scene(episode.character.card, episode.character.user)
    return [Line(message.role, message.text) for message in closing_messages(scene)]


def fit_lines(lines: Sequence[Line], asking: Asking) -> list[Line]:
    """`lines` without the oldest exchanges, where the model's context is too short for them and a reply."""
    head = next(place for place, line in enumerate(lines) if line.role != "system")
    start = head
    while start < len(lines) - 1 and (
        asking.teacher.count([*lines[:head], *lines[start:]]) + REPLY_TOKENS > asking.teacher.max_model_len
    ):
        start = next((place for place in range(start + 1, len(lines)) if lines[place].role == "user"), len(lines) - 1)
    return [*lines[:head], *lines[start:]]


def _read(answer: Answer) -> tuple[str, bool]:
    return read_reply(answer), not answer.is_cut


def build_plan(options: argparse.Namespace) -> Plan:
    """What the arguments ask for."""
    count = min(options.limit or CHARACTERS, CHARACTERS)
    episodes = build_episodes(count, options.seed)

    def tasks() -> Iterator[Task]:
        return (Task(f"episode {number:04}", {"number": number}) for number in range(count))

    return Plan("recall", options.out, tasks, Player(episodes, options.temperature, options.seed), count, {})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(__doc__)
    parser.set_defaults(temperature=0.0)
    options = parser.parse_args(arguments)

    def show_report(rows: list[Row], console: Console) -> dict[str, Any]:
        numbers = [int(row["id"].split()[-1]) for row in rows]
        episodes = build_episodes(max(numbers) + 1, options.seed)
        replies = [
            Reply(episodes[number], question, said["text"], said["finished"])
            for number, row in zip(numbers, rows, strict=True)
            for question, said in zip(episodes[number].questions, row["replies"], strict=True)
        ]
        report = asdict(judge(replies, [], options.temperature))
        for measure in MEASURES:
            share = report[measure]
            told = f"{share:.1%}" if isinstance(share, float) else str(share)
            console.print(f"{measure.replace('_', ' ')}: {told}", highlight=False)
        return {name: value for name, value in report.items() if name not in NOT_ASKED}

    return conclude(build_plan, options, show_report)


if __name__ == "__main__":
    sys.exit(main())
