"""The character profile of the OpenCharacter paper (arXiv 2501.15427), as labelled lines and as JSON.

The eight fields of the paper come first and are always present; the six after them are ours, optional, and rendered
only when they say something. The order is part of the format: models are trained on it.
"""

import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


def one_line(text: str) -> str:
    """`text` with every run of white space and control characters as one space, none at its ends."""
    if not text.isprintable():
        text = "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)
    return " ".join(text.split())


Line = Annotated[str, StringConstraints(max_length=2000), AfterValidator(one_line)]

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

# What a value is made of besides spaces, as a pattern's ranges, by the bytes that UTF-8 takes for it: no quotes, no
# escapes, nothing that can't be seen, nothing of private use.
_SEEN = (
    r"!#-\[\]-~",
    "\u00a1-\u00ac\u00ae-\u07ff",
    "\u0800-\u167f\u1681-\u180d\u180f-\u1fff\u2010-\u2027\u2030-\u205e\u2070-\u2fff\u3001-\ud7ff\uf900-\ufefe\uff01-\uffef",
    "\U00010000-\U0003fffd",
)


class Profile(BaseModel):
    """Fourteen one-line answers to who somebody is. Empty means unknown. Immutable."""

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

    def lines(self) -> str:
        """The profile as `Label: value` lines, in the order of LABELS, empty fields left out."""
        values = ((label, getattr(self, field)) for field, label in LABELS.items())
        return "\n".join(f"{label}: {value}" for label, value in values if value)


def profile_json_schema(char_bytes: int = 4) -> dict[str, Any]:
    """The JSON schema that constrained decoding follows: every field required, in order, bounded, nothing else.

    No value is blank, none needs an escape, and no character of one takes more than `char_bytes` (2 to 4) in UTF-8.
    """
    seen = "".join(_SEEN[:char_bytes])
    properties = {
        field: {"type": "string", "pattern": f"^[{seen}][ {seen}]{{0,{length - 1}}}$"}
        for field, length in SYNTHESIS_LENGTHS.items()
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def longest_profile_bytes(char_bytes: int = 4) -> int:
    """Bytes of the longest JSON that `profile_json_schema(char_bytes)` allows, without whitespace around its signs."""
    signs = len('"":"",')
    return 1 + sum(len(field) + signs + length * char_bytes for field, length in SYNTHESIS_LENGTHS.items())
