"""One-line persona to profile: the prompt, and what comes back. The same for synthesis at scale and for the server."""

import json

import orjson
from characters.profile import Profile

from models.renderer import Renderer, Turn

SYSTEM = "You write character profiles. From one line about a person you imagine who they are, as a JSON object."


def build_profile_turns(renderer: Renderer, persona: str) -> list[Turn]:
    """The conversation that asks for the profile of `persona`, to be answered under `profile_json_schema()`."""
    return [
        Turn("system", renderer.encode(SYSTEM)),
        Turn("user", renderer.encode(" ".join(persona.split()))),
    ]


def render_profile(profile: Profile) -> str:
    """The reply that stands for `profile`: its JSON without whitespace, every field in order."""
    return orjson.dumps(profile.model_dump()).decode()


def parse_profile(text: str) -> Profile:
    """The profile in a reply. Raises ValueError (JSON's or pydantic's) when it isn't one."""
    # The decoder lets control characters through, which strict JSON refuses; a profile turns them into spaces.
    return Profile.model_validate(json.loads(text, strict=False))
