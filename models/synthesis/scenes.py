"""Scenes that several characters play: who is asked answers, from a card that only that one's prompt has."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from random import Random
from typing import Any

from models.synthesis.character import Character
from models.synthesis.grammar import fill_known, load_grammar, split_lines
from models.synthesis.imagination import Imagination
from models.synthesis.names import NameForge
from models.synthesis.talk import Talk

_EXCHANGES = (1, 8)


def build_cast_scene(characters: Sequence[Character], random: Random) -> dict[str, Any]:
    """A row that holds a scene of all of them with the first one's user; its last line is what is learned.

    The lines before are the others' and its speaker's own, each with a name.
    """
    user, facts = characters[0].user, characters[0].facts
    cast = [replace(character, user=user, facts=facts) for character in _of_different_names(characters)]
    talks = [Talk(character, random) for character in cast]
    messages: list[dict[str, str]] = []
    speaker = 0
    for _ in range(random.randint(*_EXCHANGES)):
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
        "stage": {"names": [character.card.name for character in cast], "speaker": card.name},
        "messages": messages,
    }
    if random.random() < 0.5:
        row["scenario"] = _scenario(row["stage"]["names"], random)
    return row


def _exchange(talk: Talk, random: Random) -> tuple[str, str]:
    """A question about the card, or small talk, with the answer."""
    talk.interview.ask() if random.random() < 0.7 else talk.chatter.chat()
    (_, asked), (_, answered) = talk.conversation.messages[-2:]
    return asked, answered


def _scenario(names: Sequence[str], random: Random) -> str:
    line = random.choice(split_lines(load_grammar("cards")["scenario"]))
    filled = fill_known(line, {"char": " and ".join(names), "user": "{{user}}"})
    return Imagination(random, NameForge(random)).text(filled)


def _of_different_names(characters: Sequence[Character]) -> list[Character]:
    return list({character.card.name: character for character in characters}.values())
