"""A conversation in the making: who talks, what has been said, and what about."""

from random import Random

from models.synthesis.asker import Asker
from models.synthesis.character import Character
from models.synthesis.grammar import fix_articles
from models.synthesis.imagination import Imagination
from models.synthesis.names import NameForge
from models.synthesis.replies import Speaker


class Conversation:
    """What its parts (talk.py names them) draw on and add to. `messages` are (role, text), in order."""

    def __init__(self, character: Character, random: Random) -> None:
        self.character = character
        self.random = random
        self.speaker = Speaker(character, random)
        self.imagination = Imagination(random, NameForge(random))
        self.asker = Asker(character, self.imagination)
        self.messages: list[tuple[str, str]] = []
        self.tail = ""
        """What is told to the model before the last message."""
        self.topic = ""
        """The field of the card that was just talked about, if any."""

    def greet(self) -> None:
        """Begin with the card's greeting, where it has one."""
        greetings = self.character.card.greetings()
        if greetings:
            self.messages.append(("assistant", self.character.card.expand(greetings[0], self.character.user.name)))

    def say(self, user: str, reply: str, topic: str = "") -> None:
        """Add an exchange; `topic` is the field of the card that it was about."""
        self.messages += [("user", fix_articles(user)), ("assistant", reply)]
        self.topic = topic if topic in self.character.values else ""
