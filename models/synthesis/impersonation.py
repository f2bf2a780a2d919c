"""Talks that end with a line of the user's that the model was asked to write, as impersonation asks for it."""

from dataclasses import asdict
from random import Random
from typing import Any

from models.sections import IMPERSONATE, tail_text
from models.synthesis.character import Character
from models.synthesis.talk import Talk

_EXCHANGES = (1, 8)


def build_impersonation(character: Character, random: Random) -> dict[str, Any]:
    """A row whose last reply is what the user says next; the request for it stands before it."""
    talk = Talk(character, random)
    conversation = talk.conversation
    if random.random() < 0.75:
        conversation.greet()
    for _ in range(random.randint(*_EXCHANGES)):
        talk.go_on()
    end = len(conversation.messages)
    talk.go_on()
    line = conversation.messages[end][1]
    request = character.card.expand(IMPERSONATE, character.user.name)
    messages = [*conversation.messages[:end], ("system", request), ("assistant", line)]
    row: dict[str, Any] = {
        "card": character.card.to_v3(),
        "user": asdict(character.user),
        "messages": [{"role": role, "content": text} for role, text in messages],
    }
    if tail := tail_text(character.card, character.user):
        row["tail"] = tail
    return row
