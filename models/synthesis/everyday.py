"""Questions about what no card has a field for, and doubts: the nearest field answers, or that it isn't told."""

import re

from models.synthesis.conversation import Conversation

# What a card says that comes nearest, by kind of question.
NEAREST = {
    "day": "general_experience",
    "calling": "general_experience",
    "lesson": "general_experience",
    "house": "birth_place",
    "family": "friend",
    "love": "likes",
    "anger": "likes",
    "eating": "likes",
    "yesterday": "likes",
    "together": "likes",
    "tomorrow": "goal",
    "summary": "personality",
}
_NEAR = 0.75


class Everyday:
    """The part of a conversation that is about days, houses and hearts; and about whether any of it is true."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._character, self._speaker = conversation.character, conversation.speaker
        self._asker, self._random = conversation.asker, conversation.random

    def ask(self, kind: str | None = None) -> None:
        """A question of one of those kinds."""
        kind = kind or self._random.choice([*NEAREST, "now", "now"])
        if kind == "now":
            return self.ask_where("now")
        field = NEAREST[kind]
        if self._speaker.knows(field) and self._random.random() < _NEAR:
            self._conversation.say(self._asker.question(kind), self._speaker.near(kind, field), field)
        else:
            self._conversation.say(self._asker.question(kind), self._speaker.ours(f"{kind}.untold"))
        return None

    def ask_where(self, kind: str = "where") -> None:
        """Where the scenario takes place, or what is to be seen there."""
        scene = re.split(r"[.;,]", self._character.card.data.scenario)[0]
        told = {"v": scene[:1].lower() + scene[1:]} if scene and "{{" not in scene else {}
        pool = f"{kind}.untold" if not told else kind
        self._conversation.say(self._asker.question(kind), self._speaker.ours(pool, **told))

    def doubt(self) -> None:
        """The user doesn't believe it: what was just said of the card stands, and is said again."""
        topic = self._conversation.topic
        reply = self._speaker.again(topic, "insist") if topic else self._speaker.ours("wrong")
        self._conversation.say(self._asker.question("wrong"), reply, topic)
