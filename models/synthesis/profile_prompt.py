"""One-line persona to profile: the prompt, and what comes back. The same for synthesis at scale and for the server."""

import orjson
from characters.profile import SYNTHESIS_LENGTHS, Profile

from models.engine import SamplingParams
from models.renderer import Renderer, Turn
from models.synthesis.form import build_form, fit_form

SYSTEM = "You write character profiles. From one line about a person you imagine who they are, as a JSON object."


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

    Where the context is small, values get a smaller alphabet. Raises ProfileTooLong when even the smallest doesn't fit.
    """
    return fit_form({}, prompt_tokens, max_model_len).params(temperature=temperature, seed=seed)


def render_profile(profile: Profile) -> str:
    """The reply that stands for `profile`: its JSON without whitespace, every field in order."""
    return orjson.dumps(profile.model_dump(include=set(SYNTHESIS_LENGTHS))).decode()


def parse_profile(text: str) -> Profile:
    """The complete profile in a reply. Raises ValueError (JSON's or pydantic's, too) for anything else."""
    return Profile(**build_form({}, char_bytes=4).parse(text))
