"""One-line persona to profile: the prompt, and what comes back. The same for synthesis at scale and for the server."""

import json

import orjson
from characters.profile import Profile, longest_profile_bytes, profile_json_schema

from models.engine import Constraint, SamplingParams
from models.renderer import Renderer, Turn

SYSTEM = "You write character profiles. From one line about a person you imagine who they are, as a JSON object."

# Bytes a character may take in UTF-8, from all that is written down to Latin, Greek, Cyrillic, Hebrew and Arabic.
_ALPHABETS = (4, 3, 2)


class ProfileTooLong(ValueError):
    """The context is too small for the prompt with the longest profile; the message has both numbers."""


def build_profile_turns(renderer: Renderer, persona: str) -> list[Turn]:
    """The conversation that asks for the profile of `persona`, to be answered with `build_profile_params`."""
    return [
        Turn("system", renderer.encode(SYSTEM)),
        Turn("user", renderer.encode(" ".join(persona.split()))),
    ]


def build_profile_params(
    prompt_tokens: int, max_model_len: int, *, temperature: float, seed: int | None
) -> SamplingParams:
    """How to sample the profile: under its schema, with room for the longest that it allows, so that none is cut off.

    A token stands for a byte at least. Where the context is small, values get a smaller alphabet. Raises ProfileTooLong
    when even the smallest doesn't fit.
    """
    for char_bytes in _ALPHABETS:
        longest = longest_profile_bytes(char_bytes) + 1  # and the token that ends it
        if prompt_tokens + longest <= max_model_len:
            constraint = Constraint(json_schema=profile_json_schema(char_bytes))
            return SamplingParams(max_tokens=longest, temperature=temperature, seed=seed, constraint=constraint)
    raise ProfileTooLong(
        f"the persona's prompt takes {prompt_tokens} tokens and a profile up to {longest}, together more than the "
        f"context of {max_model_len} tokens"
    )


def render_profile(profile: Profile) -> str:
    """The reply that stands for `profile`: its JSON without whitespace, every field in order."""
    return orjson.dumps(profile.model_dump()).decode()


def parse_profile(text: str) -> Profile:
    """The complete profile in a reply. Raises ValueError (JSON's or pydantic's, too) for anything else."""
    # A decoder may let control characters through, which strict JSON refuses; a profile turns them into spaces.
    profile = Profile.model_validate(json.loads(text, strict=False))
    if blank := [field for field, value in profile.model_dump().items() if not value]:
        raise ValueError(f"the profile leaves blank: {', '.join(blank)}")
    return profile
