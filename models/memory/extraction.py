"""What leaves the prompt, as the model writes it down: a summary, what happened, what it learned of user and character.

Decoded under a schema, at the end of the very prompt that the engine has read already. A small model says little that
was said: what isn't grounded in the conversation's own words is dropped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
from characters.profile import one_line

from models.engine import Constraint, SamplingParams
from models.memory.keywords import words_of
from models.memory.mood import EMOTIONS

Kind = Literal["said", "event", "user", "character", "note"]

REQUEST = (
    "The conversation rests here. Answer not as {char} but as one who takes notes. Write as JSON a summary of what has "
    "happened so far, the events, what was learned about {user} and what was learned about {char}, each with its mood, "
    "and only what was said."
)
SUMMARY_CHARACTERS, ITEM_CHARACTERS, MOST_ITEMS = 600, 160, 6
# The longest note; one that is cut off counts as none.
MOST_TOKENS = 512
# Of a note's words, how many must have been said, and how many may not be repetitions.
GROUNDED, VARIED = 0.5, 0.4
_LISTS: Mapping[str, Kind] = {"events": "event", "user": "user", "character": "character"}


@dataclass(frozen=True, slots=True)
class Note:
    """One thing to remember. `mood` is one of EMOTIONS, or none of them."""

    kind: Kind
    text: str
    mood: str


@dataclass(frozen=True, slots=True)
class Extract:
    """What a model wrote down. `summary` is "" where it wasn't grounded."""

    summary: str
    notes: tuple[Note, ...]


def extraction_schema() -> dict[str, Any]:
    """The JSON schema of the reply."""
    item = {
        "type": "object",
        "properties": {
            "text": {"type": "string", "minLength": 1, "maxLength": ITEM_CHARACTERS},
            "mood": {"enum": [*EMOTIONS, "neutral"]},
        },
        "required": ["text", "mood"],
        "additionalProperties": False,
    }
    lists = {name: {"type": "array", "items": item, "maxItems": MOST_ITEMS} for name in _LISTS}
    summary = {"type": "string", "maxLength": SUMMARY_CHARACTERS}
    return {
        "type": "object",
        "properties": {"summary": summary, **lists},
        "required": ["summary", *lists],
        "additionalProperties": False,
    }


def extraction_params() -> SamplingParams:
    """How to sample the reply: likeliest words, for notes are no art."""
    return SamplingParams(
        max_tokens=MOST_TOKENS,
        temperature=0.0,
        constraint=Constraint(json_schema=extraction_schema()),
        ends_loops=True,
    )


def parse_extract(text: str, said: Sequence[str]) -> Extract:
    """What of a reply is grounded in `said`. Raises ValueError for one that the schema forbids."""
    value = orjson.loads(text)
    if not isinstance(value, dict) or not isinstance(value.get("summary"), str):
        raise ValueError("the reply is no extract")
    known = frozenset(word for line in said for word in words_of(line))
    summary = one_line(value["summary"])[:SUMMARY_CHARACTERS]
    notes = [note for name, kind in _LISTS.items() for note in _notes(value.get(name), kind)]
    return Extract(
        summary if is_grounded(summary, known) else "", tuple(note for note in notes if is_grounded(note.text, known))
    )


def is_grounded(text: str, known: frozenset[str]) -> bool:
    """Whether most of a text's words are among the `known` ones, and few are said again and again."""
    words = words_of(text)
    if not words:
        return False
    return sum(word in known for word in words) >= GROUNDED * len(words) and len(set(words)) >= VARIED * len(words)


def _notes(items: Any, kind: Kind) -> list[Note]:  # whatever a model wrote
    if not isinstance(items, list):
        raise ValueError("the reply is no extract")
    return [
        Note(kind, one_line(item["text"])[:ITEM_CHARACTERS], item.get("mood", ""))
        for item in items[:MOST_ITEMS]
        if isinstance(item, dict) and isinstance(item.get("text"), str)
    ]
