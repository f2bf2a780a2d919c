"""Who plays in a dialogue that a teacher writes, and the row that it becomes: what training reads and serving sends."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson
from characters.card import CharacterCard, build_card, parse_card
from characters.profile import Profile

from models.scene import UserPersona
from models.synthesis.pipeline.sources import Source, SourceRow
from models.synthesis.pipeline.task import Row, Task
from models.synthesis.teachers.teacher import Line, Stop


@dataclass(frozen=True, slots=True)
class Casting:
    """The characters to draw from, by id, as rows `{persona, profile}` or `{card}`.

    A share of the dialogues, `persona_only`, shows a character by its persona alone, where it has one: many are served
    like that.
    """

    rows: Mapping[str, Mapping[str, Any]]
    persona_only: float = 0.0

    def draw(self, random: Random, count: int) -> list[str]:
        """The ids of `count` of them, or of all where there are fewer."""
        return random.sample(list(self.rows), min(count, len(self.rows)))

    def card(self, task: Task, seed: int) -> CharacterCard:
        """The card of the task's character, as this dialogue shows it."""
        card = read_card(self.rows[task.content["character"]])
        if card.persona and card.profile and Random(f"persona/{task.seed(seed)}").random() < self.persona_only:
            return card.model_copy(update={"profile": None})
        return card

    def digest(self) -> str:
        """Names these characters: with others, others are drawn."""
        raw = orjson.dumps([[key, row] for key, row in self.rows.items()], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(raw).hexdigest()[:16]


def load_casting(path: Path, persona_only: float) -> tuple[Casting, dict[str, int]]:
    """The characters of a file, in the order of their ids, and how many lines hold none, by reason.

    Raises Stop when there is none at all.
    """
    found: dict[str, Mapping[str, Any]] = {}
    faults: dict[str, int] = {}
    for row in Source(str(path)).rows():
        if fault := row.fault or _fault(row.value) or ("repeated_id" if _id(row) in found else ""):
            faults[fault] = faults.get(fault, 0) + 1
        else:
            found[_id(row)] = {key: row.value[key] for key in ("persona", "profile", "card") if key in row.value}
    if not found:
        told = ", ".join(f"{count} {fault}" for fault, count in faults.items())
        raise Stop(f"{path} holds no characters{f': {told}' if told else ''}")
    return Casting(dict(sorted(found.items())), persona_only), faults


def read_card(row: Mapping[str, Any]) -> CharacterCard:
    """The card of a row. Raises ValueError."""
    if "card" in row:
        return parse_card(row["card"])
    return build_card(Profile.model_validate(row["profile"]), row.get("persona") or "")


def describe(card: CharacterCard) -> str:
    """The character as somebody is told of it who doesn't play it."""
    profile = card.profile.lines() if card.profile else f"Name: {card.name}"
    parts = (("Persona", card.persona), ("Character Profile", profile), ("Description", card.data.description))
    return "\n\n".join(f"# {title}\n{card.expand(text)}" for title, text in parts if text)


def build_row(task: Task, card: CharacterCard, lines: Sequence[Line], strategy: str) -> Row:
    """The row of a dialogue."""
    return {
        "card": card.to_v3(),
        "user": asdict(UserPersona()),
        "messages": [{"role": line.role, "content": line.text} for line in lines],
        "strategy": strategy,
        "character": task.content["character"],
        "source": task.content["source"],
    }


def _id(row: SourceRow) -> str:
    return row.value["id"] if isinstance(row.value.get("id"), str) else row.key


def _fault(row: Mapping[str, Any]) -> str:
    if "card" not in row and not isinstance(row.get("profile"), dict):
        return "missing_fields"
    try:
        read_card(row)
    except ValueError:
        return "no_character"
    return ""
