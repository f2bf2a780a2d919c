"""A conversation, made move by move: what a user says, and what the character can say to that."""

from collections.abc import Callable
from random import Random

from models.synthesis.character import Character
from models.synthesis.chatter import Chatter
from models.synthesis.conversation import Conversation
from models.synthesis.everyday import Everyday
from models.synthesis.interview import Interview
from models.synthesis.memory import Memory


class Talk:
    """A conversation with the moves that make it go on."""

    def __init__(self, character: Character, random: Random) -> None:
        self.conversation = Conversation(character, random)
        self.chatter = Chatter(self.conversation)
        self.interview = Interview(self.conversation, self.chatter)
        self.memory = Memory(self.conversation, self.interview, self.chatter)
        self.everyday = Everyday(self.conversation)

    def go_on(self) -> None:
        """One more exchange."""
        random, interview, memory, chatter = self.conversation.random, self.interview, self.memory, self.chatter
        if memory.due() and random.random() < 0.45:
            return memory.recall_due()
        if self.conversation.topic and random.random() < 0.22:
            return interview.follow_up()
        if self.conversation.topic and random.random() < 0.04:
            return self.everyday.doubt()
        moves: list[tuple[Callable[[], None], float]] = [
            (interview.ask, 42),
            (interview.ask_twice, 5),
            (interview.confirm, 5),
            (memory.tell, 11),
            (memory.tell_two, 4),
            (memory.recall_persona, 5),
            (memory.ask_never, 2),
            (chatter.chat, 32),
            (chatter.echo, 8),
            (chatter.ask_opinion, 3),
            (chatter.ask_echo, 6),
            (interview.ask_about, 3),
            (interview.ask_story, 2),
            (self.everyday.ask, 22),
            (self.everyday.ask_where, 1.5),
            (self.everyday.doubt, 1.5),
            (interview.ask_lore, 4),
        ]
        random.choices([move for move, _ in moves], [weight for _, weight in moves])[0]()
        return None
