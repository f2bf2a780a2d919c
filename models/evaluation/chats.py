"""How does it talk? `python -m models.evaluation chats --url http://127.0.0.1:8000 --out build/chats.jsonl`.

What a newcomer might say, sixteen lines of it, to characters of our server, in sessions that it keeps. Whether the
answers are any good is for people to tell: they stand beside `--out` as Markdown. Counted is what is wrong whatever was
asked: loops, markup, replies without an end, and one reply twice in a chat.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from characters.library import load_library
from rich.console import Console
from rich.table import Table

from models.evaluation.drift_players import REPLY_TOKENS, post
from models.evaluation.marks import leaks_markup, normalize
from models.evaluation.proportion import proportion
from models.evaluation.scores import conclude
from models.synthesis.pipeline.command import Plan, build_parser, build_teacher_options
from models.synthesis.pipeline.journal import beside
from models.synthesis.pipeline.task import Asking, Row, Task
from models.synthesis.teachers.teacher import Stop, TeacherFailed

NEWCOMERS = (
    (
        *("Hi! Who are you?", "I'm Nora, nice to meet you.", "What do you do all day?", "How old are you?"),
        *("Where are you right now? What do you see?", "I had a terrible day, my boss yelled at me."),
        *("What would you do in my place?", "Do you have any family?", "I have a cat called Biscuit."),
        *("Tell me a story about something that happened to you.", "lol why", "What are you most afraid of?"),
        *("Do you remember my name? And my cat's?", "*I pour you a cup of tea and sit down beside you*"),
        *("Are you an AI?", "I have to go. Goodbye!"),
    ),
    (
        *("hello", "what's your name and where are you from?", "I'm Tom by the way. I'm a baker."),
        *("what do you like to eat?", "Describe your house.", "Can you help me? I lost my keys.", "What's 2+2?"),
        *("who is your best friend?", "I think you're wrong about that.", "What did you do yesterday?"),
        *("Tell me a joke", "what was my job again?", "Do you believe in ghosts?", "What should we do tomorrow?"),
        *("You're boring.", "goodnight"),
    ),
    (
        *("*walks in and looks around* Is anybody here?", "Who are you and what is this place?"),
        *("They call me Ilse. I come from Bremen.", "Why did you choose this work?", "What makes you happy?"),
        *("What makes you angry?", "Teach me something only you know."),
        *("My sister is getting married on Saturday and I have nothing to wear.", "Have you ever been in love?"),
        *("What's your biggest secret?", "I don't believe you.", "Where do I come from, do you remember?"),
        *("How would you describe yourself in three words?", "Write me a short poem about the sea"),
        *("What happens on Saturday, do you remember?", "Thank you, that was lovely. Bye"),
    ),
)
FAULTS = ("loops", "markup", "no end", "said before")
# The same few letters or words, four times on end.
_LOOP = re.compile(r"(.{2,60}?)\1{3}")
_WORDY = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Talks to one character. Rows: `{character, greeting, turns: [{said, reply, faults}]}`."""

    url: str
    api_key: str | None
    timeout_s: float
    body: Mapping[str, Any]
    seed: int

    async def write(self, task: Task, _: Asking) -> Row:
        headers = {"authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        try:
            async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=self.timeout_s) as client:
                return await self._talk(client, task.content["character"], NEWCOMERS[task.content["newcomer"]])
        except httpx.HTTPError as error:
            raise TeacherFailed(f"{type(error).__name__}: {error}") from error

    async def _talk(self, client: httpx.AsyncClient, character: str, lines: Sequence[str]) -> Row:
        session = await post(client, "/sessions", {"character_id": character})
        turns: list[dict[str, Any]] = []
        try:
            # Of one seed all replies would begin alike.
            for seed, line in enumerate(lines, self.seed):
                body = {**self.body, "seed": seed, "content": line}
                told = await post(client, f"/sessions/{session['id']}/messages", body)
                reply = told["message"]["content"]
                faults = find_faults(reply, told["message"]["finish_reason"], [turn["reply"] for turn in turns])
                turns.append({"said": line, "reply": reply, "faults": faults})
        finally:
            await client.delete(f"/sessions/{session['id']}")
        greeting = session["messages"][0]["content"] if session["messages"] else ""
        return {"character": character, "greeting": greeting, "turns": turns}


def find_faults(reply: str, finish_reason: str, before: Sequence[str]) -> list[str]:
    """Which of `FAULTS` it has."""
    found = {
        "loops": any(_WORDY.search(loop[1]) for loop in _LOOP.finditer(f"{normalize(reply)} ")),
        "markup": leaks_markup(reply),
        "no end": finish_reason != "stop",
        "said before": normalize(reply) in map(normalize, before),
    }
    return [name for name in FAULTS if found[name]]


def score_chats(rows: Sequence[Row]) -> dict[str, Any]:
    """The share of replies that have each fault."""
    faults = [turn["faults"] for row in rows for turn in row["turns"]]
    return {name: proportion([name in those for those in faults]).to_json() for name in FAULTS}


def write_page(rows: Sequence[Row]) -> str:
    """The chats, to be read."""
    parts = []
    for row in rows:
        parts += [f"## {row['character']}", row["greeting"]]
        for turn in row["turns"]:
            marked = f" **[{', '.join(turn['faults'])}]**" if turn["faults"] else ""
            parts += [f"> {turn['said']}", f"{turn['reply']}{marked}"]
    return "\n\n".join(parts) + "\n"


def build_plan(options: argparse.Namespace) -> Plan:
    """What the arguments ask for. Raises Stop."""
    if not options.url:
        raise Stop("chats are held with a server of ours: name its --url")
    named = options.characters.split(",") if options.characters else list(load_library())
    chosen = named[: options.limit]

    def tasks() -> Iterator[Task]:
        for number, character in enumerate(chosen):
            newcomer = number % len(NEWCOMERS)
            yield Task(f"{character}/{newcomer}", {"character": character, "newcomer": newcomer})

    body = {"temperature": options.temperature, "max_tokens": REPLY_TOKENS}
    url, key = options.url.rstrip("/").removesuffix("/v1"), build_teacher_options(options).api_key
    identity = {"characters": chosen, "seed": options.seed, **body}
    return Plan(
        "chats",
        options.out,
        tasks,
        Newcomer(url, key, options.timeout_s, body, options.seed),
        len(chosen),
        identity,
        asks=False,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = build_parser(__doc__, teacher_needed=False)
    parser.add_argument("--characters", help="their ids, parted by commas (default: those of the library)")
    parser.set_defaults(temperature=0.7, concurrency=4)
    options = parser.parse_args(arguments)

    def show_faults(rows: list[Row], console: Console) -> dict[str, Any]:
        scores = score_chats(rows)
        table = Table("fault", "replies", "of")
        for name, one in scores.items():
            table.add_row(name, f"{one['share']:.1%}", str(one["of"]))
        console.print(table)
        page = beside(options.out, "md")
        try:
            page.write_text(write_page(rows), encoding="utf-8")
        except OSError as error:
            raise Stop(f"{page} can't be written: {error.strerror}") from error
        console.print(f"to be read: {page}", markup=False, highlight=False, soft_wrap=True)
        return scores

    return conclude(build_plan, options, show_faults)


if __name__ == "__main__":
    sys.exit(main())
