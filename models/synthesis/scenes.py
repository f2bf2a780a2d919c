"""Scenes that several characters play: who is asked answers, from a card that only that one's prompt has."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from random import Random
from typing import Any

from characters.card import CharacterCard

from models.synthesis.character import Character
from models.synthesis.grammar import fill_known, load_grammar, split_lines
from models.synthesis.imagination import Imagination
from models.synthesis.names import NameForge
from models.synthesis.talk import Talk

# Short ones often: however long a scene is, its last line alone is learned.
_EXCHANGES = (1, 1, 2, 2, 3, 4, 6, 8)


def build_cast_scene(characters: Sequence[Character], random: Random) -> dict[str, Any]:
    """A row that holds a scene of all of them with the first one's user; its last line is what is learned.

    The lines before are the others' and its speaker's own, each with a name.
    """
    user, facts, present = characters[0].user, characters[0].facts, _of_different_names(characters)
    names = [character.card.name for character in present]
    scenario = _scenario(names, random) if random.random() < 0.5 else ""
    cast = [replace(one, card=_placed(one.card, scenario), user=user, facts=facts) for one in present]
    talks = [Talk(character, random) for character in cast]
    messages: list[dict[str, str]] = []
    speaker = 0
    for _ in range(random.choice(_EXCHANGES)):
        speaker = random.randrange(len(cast))
        asked, answered = _exchange(talks[speaker], random)
        name = cast[speaker].card.name
        called = f"{name}, {asked}" if random.random() < 0.5 and not asked.startswith(("*", name)) else asked
        messages.append({"role": "user", "content": called, "name": user.name})
        messages.append({"role": "assistant", "content": answered, "name": name})
    card = cast[speaker].card
    row: dict[str, Any] = {
        "card": card.to_v3(),
        "user": asdict(user),
        "stage": {"names": names, "speaker": card.name},
        "messages": messages,
    }
    return row | {"scenario": scenario} if scenario else row


def _exchange(talk: Talk, random: Random) -> tuple[str, str]:
    """A question about the card or what is near it, or small talk, with the answer."""
    moves = (talk.interview.ask, talk.everyday.ask, talk.chatter.echo, talk.chatter.chat)
    random.choices(moves, (60, 12, 8, 20))[0]()
    (_, asked), (_, answered) = talk.conversation.messages[-2:]
    return asked, answered


def _placed(card: CharacterCard, scenario: str) -> CharacterCard:
    """The card in this scene: of its own scenario nobody in a cast is told."""
    return card.model_copy(update={"data": card.data.model_copy(update={"scenario": scenario})})


def _scenario(names: Sequence[str], random: Random) -> str:
    line = random.choice(split_lines(load_grammar("cards")["scenario"]))
    filled = fill_known(line, {"char": " and ".join(names), "user": "{{user}}"})
    return Imagination(random, NameForge(random)).text(filled)


def _of_different_names(characters: Sequence[Character]) -> list[Character]:
    return list({character.card.name: character for character in characters}.values())
