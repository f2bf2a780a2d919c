"""What a profile is decoded into: some fields are given, the others bounded. Every way to make one fills a form."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from characters.profile import SYNTHESIS_LENGTHS, Profile, longest_profile_bytes, one_line, profile_json_schema

from models.engine import Constraint, SamplingParams

# Bytes a character may take in UTF-8, from all that is written down to Latin, Greek, Cyrillic, Hebrew and Arabic.
ALPHABETS = (4, 3, 2)
# What long values are bounded to, from as long as they may be down to a line.
BOUNDS = (max(SYNTHESIS_LENGTHS.values()), 160, 120, 80, 40)
# The share of a text's letters that must be spelled, and how many letters are looked at.
SPELLED, LOOKED_AT = 0.99, 10_000


class ProfileTooLong(ValueError):
    """The context is too small for the prompt with the longest profile; the message has both numbers."""


@dataclass(frozen=True, slots=True)
class Form:
    """Fields of a profile: those that are `given`, word for word, and the longest values of those to be written.

    No character that is written takes more than `char_bytes` in UTF-8. Given fields behind the last one to be written
    are left out: nothing is decoded after them.
    """

    given: Mapping[str, str]
    lengths: Mapping[str, int]
    char_bytes: int

    def json_schema(self) -> dict[str, Any]:
        """The schema of the reply: its fields in the profile's order, all required."""
        schema = profile_json_schema(self.char_bytes, self.lengths)
        written = schema["properties"]
        fields = [field for field in SYNTHESIS_LENGTHS if field in self.given or field in written]
        properties = {
            field: {"const": self.given[field]} if field in self.given else written[field] for field in fields
        }
        return schema | {"properties": properties, "required": fields}

    @property
    def longest_tokens(self) -> int:
        """Tokens of the longest reply, with the one that ends it: a token stands for a byte at least."""
        signs = len('"":"",')
        given = sum(len(field) + signs + len(value.encode()) for field, value in self.given.items())
        return longest_profile_bytes(self.char_bytes, self.lengths) + given + 1

    def params(self, *, temperature: float, seed: int | None, n: int = 1) -> SamplingParams:
        """How to sample `n` of them, none of which can be cut off."""
        constraint = Constraint(json_schema=self.json_schema())
        return SamplingParams(
            max_tokens=self.longest_tokens, temperature=temperature, seed=seed, n=n, constraint=constraint
        )

    def parse(self, text: str) -> dict[str, str]:
        """The fields that were written. Raises ValueError (JSON's or pydantic's, too) for a reply that lacks some."""
        # A decoder may let control characters through, which strict JSON refuses; a profile turns them into spaces.
        values = json.loads(text, strict=False)
        if not isinstance(values, dict) or values.keys() != self.given.keys() | self.lengths.keys():
            raise ValueError("the reply has other fields than the form")
        profile = Profile.model_validate({field: values[field] for field in self.lengths})
        written = {field: getattr(profile, field) for field in self.lengths}
        if blank := [field for field, value in written.items() if not value]:
            raise ValueError(f"the profile leaves blank: {', '.join(blank)}")
        return written


def build_form(known: Mapping[str, str], char_bytes: int, longest: int = BOUNDS[0]) -> Form:
    """The form that asks for what isn't `known`, in values of at most `longest` characters.

    Known values are given as the decoder would have written them: on a line, without quotes, no longer than theirs.
    """
    lengths = {field: min(length, longest) for field, length in SYNTHESIS_LENGTHS.items() if field not in known}
    fields = list(SYNTHESIS_LENGTHS)
    before = fields[: fields.index(list(lengths)[-1])] if lengths else []
    given = {field: value for field in before if (value := _as_written(field, known.get(field, "")))}
    return Form(given, lengths, char_bytes)


def fit_form(
    known: Mapping[str, str],
    prompt_tokens: int,
    max_model_len: int,
    *,
    alphabets: Iterable[int] = ALPHABETS,
    bounds: Iterable[int] = BOUNDS[:1],
    shown: float = 0.0,
) -> Form:
    """The first form, in the order of `bounds` and then `alphabets`, whose longest reply fits beside the prompt.

    `shown` is the share of a longest reply that stands in the prompt, too. Raises ProfileTooLong when even the last
    form doesn't fit.
    """
    forms = [build_form(known, char_bytes, longest) for longest in bounds for char_bytes in alphabets]
    for form in forms:
        prompt = prompt_tokens + int(shown * form.longest_tokens)
        if prompt + form.longest_tokens <= max_model_len:
            return form
    raise ProfileTooLong(
        f"the prompt takes {prompt} tokens and a profile up to {form.longest_tokens}, together more than the context "
        f"of {max_model_len} tokens"
    )


def alphabets_for(text: str) -> tuple[int, ...]:
    """The ALPHABETS that spell the letters of `text`, but for a stray one in a long text."""
    widths = sorted(len(char.encode()) for char in text[:: len(text) // LOOKED_AT + 1] if char.isalpha())
    widest = widths[int(SPELLED * len(widths))] if widths else 1
    return tuple(char_bytes for char_bytes in ALPHABETS if char_bytes >= widest)


def _as_written(field: str, value: str) -> str:
    plain = one_line(value).replace('"', "'").replace("\\", "")
    return " ".join(plain.split())[: SYNTHESIS_LENGTHS[field]].strip()
