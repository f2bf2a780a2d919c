"""The character profile of the OpenCharacter paper (arXiv 2501.15427), as labelled lines and as JSON.

The eight fields of the paper come first and are always present; the six after them are ours, optional, and rendered
only when they say something. The order is part of the format: models are trained on it.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from typing import Annotated

Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]

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
        values = ((label, " ".join(getattr(self, field).split())) for field, label in LABELS.items())
        return "\n".join(f"{label}: {value}" for label, value in values if value)


def profile_json_schema() -> dict[str, Any]:
    """The JSON schema that constrained decoding follows: every field required, in order, bounded, nothing else.

    Strings hold no control characters, quotes or backslashes, so that an object can't be cut inside an escape.
    """
    properties = {
        field: {"type": "string", "pattern": rf'^[^"\\\x00-\x1f]{{1,{length}}}$'}
        for field, length in SYNTHESIS_LENGTHS.items()
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
