"""Bookmark: how far a text has been read for a character, and which words of its profile come from texts.

What people wrote themselves, before or meanwhile, is told apart by it, and stays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from characters.card import CharacterCard
from characters.profile import SYNTHESIS_LENGTHS, Profile, one_line

Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Bookmark:
    """`text` is the digest of the latest text, read up to the place `at` in `read` pieces, the last one if `done`.

    `wrote` are the values that this and earlier texts gave, by field of the profile.
    """

    text: str
    at: int = 0
    read: int = 0
    done: bool = False
    wrote: Fields = field(default_factory=dict)

    def of(self, text: str) -> "Bookmark":
        """This one where it is in `text`, else one at its beginning."""
        return self if self.text == text else Bookmark(text, wrote=self.wrote)


def told_by_people(profile: Profile, wrote: Fields) -> list[str]:
    """The fields that say something which no text gave."""
    values = {field: getattr(profile, field) for field in SYNTHESIS_LENGTHS}
    return [field for field, value in values.items() if value and value != wrote.get(field)]


def still_written(profile: Profile, wrote: Fields) -> Fields:
    """Of `wrote`, what the profile still says."""
    return {field: value for field, value in wrote.items() if getattr(profile, field) == value}


def changed_fields(one: Profile, other: Profile) -> set[str]:
    """The fields in which they differ."""
    return {field for field in SYNTHESIS_LENGTHS if getattr(one, field) != getattr(other, field)}


def merge_profile(card: CharacterCard, written: Fields) -> tuple[CharacterCard, dict[str, str]]:
    """The card with what was `written` of its profile, and what of that is new."""
    now = card.profile or Profile()
    new = {field: value for field, value in written.items() if getattr(now, field) != value}
    name = now.name or one_line(card.data.name)
    profile = now.model_copy(update={**new, "name": name})
    return card.model_copy(update={"profile": profile}), new
