"""Talks that are longer than what is still told of them: a recap stands for what was cut, or a memory comes back."""

from dataclasses import asdict
from random import Random
from typing import Any

from models.memory.outline import outline
from models.memory.passages import Said, passages
from models.scene import Scene
from models.sections import closing_messages
from models.synthesis.character import Character
from models.synthesis.talk import Talk

# Bytes a token, about, in the embedded model's vocabulary.
_TOKEN_BYTES = 3.5
_RECAP_TOKENS = (60, 250)
_AGES = ("earlier", "earlier", "yesterday", "2 November 2026", "27 May 2025")


def build_long_talk(character: Character, random: Random) -> dict[str, Any]:
    """A row whose first turns were cut. What it asks back from there is in its recap, or else the character says that
    it was never told."""
    talk = Talk(character, random)
    conversation, memory = talk.conversation, talk.memory
    for _ in range(random.randint(4, 12)):
        random.choice((memory.tell, memory.tell_two, talk.go_on, talk.go_on))()
    start, names = len(conversation.messages), {"user": character.user.name, "assistant": character.card.name}
    said = [Said("", names[role], text) for role, text in conversation.messages]
    recap = outline("", said, lambda text: int(len(text.encode()) / _TOKEN_BYTES), random.randint(*_RECAP_TOKENS))
    memory.keep(recap)
    conversation.topic = ""
    for _ in range(random.randint(3, 8)):
        if memory.due() and random.random() < 0.5:
            memory.recall_due()
        elif random.random() < 0.15:
            memory.ask_never()
        else:
            talk.go_on()
    return _row(character, conversation.messages[start:], recap=recap, tail=_tail(conversation.tail, character))


def build_remembered_talk(character: Character, random: Random) -> dict[str, Any]:
    """A row that ends with a question for what was told long ago, with lines of memory before it."""
    talk = Talk(character, random)
    conversation, memory = talk.conversation, talk.memory
    for _ in range(random.randint(2, 6)):
        memory.tell()
    names = {"user": character.user.name, "assistant": character.card.name}
    messages = conversation.messages
    exchanges = [messages[at : at + 2] for at in range(0, len(messages), 2)]
    told = [text for pair in exchanges for text in passages([Said("", names[role], said) for role, said in pair])]
    remembered = random.sample(told, min(len(told), random.randint(1, 4)))
    memory.keep("\n".join(remembered))
    start = len(messages)
    conversation.topic = ""
    for _ in range(random.randint(0, 3)):
        talk.chatter.chat()
    lines = [f"- {random.choice(_AGES)}: {text}" for text in remembered]
    kinds = sorted(kind for kind in memory.facts if kind not in character.facts)
    memory.recall(*random.sample(kinds, min(len(kinds), random.choice((1, 1, 2))))) if kinds else memory.ask_never()
    return _row(character, messages[start:], tail=_tail(conversation.tail, character, lines))


def _tail(found: str, character: Character, memories: list[str] | None = None) -> str:
    """What stands before the last message: what was found, what is remembered, what the card wants said."""
    scene = Scene(character.card, character.user, memories=memories or ())
    return "\n\n".join(part for part in (found, *(message.text for message in closing_messages(scene))) if part)


def _row(character: Character, messages: list[tuple[str, str]], **more: str) -> dict[str, Any]:
    return {
        "card": character.card.to_v3(),
        "user": asdict(character.user),
        "messages": [{"role": role, "content": text} for role, text in messages],
        **{key: text for key, text in more.items() if text},
    }
