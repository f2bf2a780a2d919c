"""What a card claims of its character, as sentences that a reply can bear out or contradict."""

from collections.abc import Iterator
from itertools import islice

from characters.card import CharacterCard
from characters.profile import Profile

from models.evaluation.sentences import split_sentences
from models.scene import UserPersona

MOST_STATEMENTS = 64
MOST_CHARACTERS = 300
_CLAIMS = {
    "name": "{name} is called {value}",
    "age": "{name}'s age is {value}",
    "gender": "{name}'s gender is {value}",
    "race": "{name}'s origin is {value}",
    "birth_place": "{name} was born in {value}",
    "appearance": "{name} looks like this: {value}",
    "general_experience": "{name} has this experience: {value}",
    "personality": "{name}'s personality is {value}",
    "speech_style": "{name} talks like this: {value}",
    "likes": "{name} likes {value}",
    "fears": "{name} fears {value}",
    "friend": "{name}'s friend is {value}",
    "secret": "{name}'s secret is this: {value}",
    "goal": "{name}'s goal is this: {value}",
}


def build_statements(card: CharacterCard, user: UserPersona = UserPersona()) -> list[str]:
    """The card's claims, the profile's first, no more than MOST_STATEMENTS and each no longer than MOST_CHARACTERS."""
    claims = (claim[:MOST_CHARACTERS] for claim in _claims(card, user.name))
    return list(islice(dict.fromkeys(claims), MOST_STATEMENTS))


def _claims(card: CharacterCard, user: str) -> Iterator[str]:
    if card.profile:
        yield from _profile_claims(card.name, card.profile)
    if card.persona:
        yield f"{card.name} is this: {_closed(card.persona)}"
    data = card.data
    for text in (data.description, data.personality, data.scenario):
        yield from split_sentences(card.expand(text, user, persona=""))


def _profile_claims(name: str, profile: Profile) -> Iterator[str]:
    for field, claim in _CLAIMS.items():
        if value := getattr(profile, field):
            yield _closed(claim.format(name=name, value=value.removesuffix(".")))
    yield from (_closed(f"{name} has this habit: {habit}") for habit in profile.habits)
    yield from (_closed(f"{who} is this to {name}: {bond}") for who, bond in profile.relationships.items())


def _closed(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?", "…")) else f"{sentence}."
