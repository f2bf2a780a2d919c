"""The character profile of the OpenCharacter paper (arXiv 2501.15427), as labelled lines and as JSON.

The eight fields of the paper come first and are always present; the six after them are ours, optional, and rendered
only when they say something. The order of these fourteen is part of the format: models are trained on it. What is
richer than that (temperament, habits, relationships, quotes, delivery) is for people to write, and follows them.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from operator import not_
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from characters.temperament import BigFive, Expressiveness, delivery


def one_line(text: str) -> str:
    """`text` with every run of white space and control characters as one space, none at its ends."""
    if not text.isprintable():
        text = "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)
    return " ".join(text.split())


def _some(texts: list[str]) -> list[str]:
    """Those that say something."""
    return [text for text in texts if text]


def _known(bonds: dict[str, str]) -> dict[str, str]:
    """The relationships of which both sides are told."""
    return {name: bond for name, bond in bonds.items() if name and bond}


MAX_LINE = 2000
MAX_NAME = 100
MAX_NOTE = 500
MAX_NOTES = 32

Line = Annotated[str, StringConstraints(max_length=MAX_LINE), AfterValidator(one_line)]
Name = Annotated[str, StringConstraints(max_length=MAX_NAME), AfterValidator(one_line)]
Note = Annotated[str, StringConstraints(max_length=MAX_NOTE), AfterValidator(one_line)]
Notes = Annotated[list[Note], Field(max_length=MAX_NOTES), AfterValidator(_some)]
Relationships = Annotated[dict[Name, Note], Field(max_length=MAX_NOTES), AfterValidator(_known)]

LABELS = {
    "name": "Name",
    "age": "Age",
    "gender": "Gender",
    "race": "Race",
    "birth_place": "Birth Place",
    "appearance": "Appearance",
    "general_experience": "General Experience",
    "personality": "Personality",
    "speech_style": "Speech Style",
    "likes": "Likes",
    "fears": "Fears",
    "friend": "Friend",
    "secret": "Secret",
    "goal": "Goal",
}

# The longest value, in characters, that constrained decoding may write into a field.
SYNTHESIS_LENGTHS = {
    "name": 40,
    "age": 12,
    "gender": 24,
    "race": 40,
    "birth_place": 60,
    "appearance": 240,
    "general_experience": 320,
    "personality": 240,
    "speech_style": 120,
    "likes": 120,
    "fears": 120,
    "friend": 120,
    "secret": 200,
    "goal": 200,
}

# The longest repeat in a pattern.
MOST_REPEATED = 120

# What a value is made of besides spaces, as a pattern's ranges, by the bytes that UTF-8 takes for it: no quotes, no
# escapes, nothing that can't be seen, nothing of private use.
_SEEN = (
    r"!#-\[\]-~",
    "\u00a1-\u00ac\u00ae-\u07ff",
    "\u0800-\u167f\u1681-\u180d\u180f-\u1fff\u2010-\u2027\u2030-\u205e\u2070-\u2fff\u3001-\ud7ff\uf900-\ufefe\uff01-\uffef",
    "\U00010000-\U0003fffd",
)


class Profile(BaseModel):
    """Fourteen one-line answers to who somebody is, and what some know beyond them. Empty means unknown. Immutable.

    Null is absent. What is beyond the fourteen is dumped only where it says something.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    name: Line = ""
    age: Line = ""
    gender: Line = ""
    race: Line = ""
    birth_place: Line = ""
    appearance: Line = ""
    general_experience: Line = ""
    personality: Line = ""
    speech_style: Line = Field("", description="How they talk: register, rhythm, habits of the tongue.")
    likes: Line = ""
    fears: Line = ""
    friend: Line = ""
    secret: Line = ""
    goal: Line = ""
    big_five: BigFive = Field(BigFive(), exclude_if=lambda value: value == BigFive())
    habits: Notes = Field([], exclude_if=not_)
    relationships: Relationships = Field({}, exclude_if=not_, description="Who is what to them, by name.")
    quotes: Notes = Field([], exclude_if=not_, description="What they would say, as examples of their voice.")
    expressiveness: Expressiveness | None = Field(None, exclude_if=lambda value: value is None)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value

    def lines(self) -> str:
        """The profile as `Label: value` lines: the fourteen in the order of LABELS, then the rest, one line a thing.

        What is empty is left out.
        """
        values = [*((label, getattr(self, field)) for field, label in LABELS.items()), *self._richer()]
        return "\n".join(f"{label}: {value}" for label, value in values if value)

    def _richer(self) -> Iterator[tuple[str, str]]:
        yield "Temperament", self.big_five.words()
        yield from (("Habit", habit) for habit in self.habits)
        yield from (("Relationship", f"{name}: {bond}") for name, bond in self.relationships.items())
        yield from (("Says Things Like", f"“{quote}”") for quote in self.quotes)
        if self.expressiveness is not None:
            yield "Delivery", delivery(self.expressiveness)


def profile_json_schema(char_bytes: int = 4, lengths: Mapping[str, int] = SYNTHESIS_LENGTHS) -> dict[str, Any]:
    """The JSON schema that constrained decoding follows: every field required, in order, bounded, nothing else.

    No value is blank, none needs an escape, and no character of one takes more than `char_bytes` (2 to 4) in UTF-8.
    """
    seen = "".join(_SEEN[:char_bytes])
    properties = {
        field: {"type": "string", "pattern": f"^[{seen}]{_up_to(length - 1, f'[ {seen}]')}$"}
        for field, length in lengths.items()
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _up_to(most: int, pattern: str) -> str:
    """A pattern for at most so many of `pattern`, in parts.

    Behind longer repeats xgrammar 0.2.8 lets tokens through that it refuses afterwards, which ends the request.
    """
    parts = [MOST_REPEATED] * (most // MOST_REPEATED) + [most % MOST_REPEATED]
    return "".join(f"{pattern}{{0,{part}}}" for part in parts if part)


def longest_profile_bytes(char_bytes: int = 4, lengths: Mapping[str, int] = SYNTHESIS_LENGTHS) -> int:
    """Bytes of the longest JSON that the schema of these allows, without whitespace around its signs."""
    signs = len('"":"",')
    return 1 + sum(len(field) + signs + length * char_bytes for field, length in lengths.items())
