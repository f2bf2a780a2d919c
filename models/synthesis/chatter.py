"""Small talk: what is said to anybody."""

from models.synthesis.conversation import Conversation
from models.synthesis.grammar import capitalize, choose_branches, fill_known, load_grammar
from models.synthesis.replies import themes

_OWN_POOLS = {
    "hello": "greet",
    "fine": "fine",
    "bye": "bye",
    "thanks": "thanks",
    "praise": "praise",
    "insult": "insult",
    "machine": "machine",
    "outside": "outside",
    "unknown": "unknown",
    "sad": "sad",
    "goodnight": "bye",
}
# What is taken up by its own word, and the slot for it.
_ECHOED = {"lost": "thing", "serve": "drink", "trouble": "kin", "poem": "theme"}
_OUR_POOLS = (
    "joke",
    "song",
    "advice",
    "glad",
    "offer",
    "gift",
    "weather",
    "doing",
    "act",
    "need",
    "place_praise",
    "askme",
    "nod",
    "noise",
    "me",
)


class Chatter:
    """The part of a conversation that is about nothing on the card."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._speaker, self._asker = conversation.speaker, conversation.asker
        self._imagination, self._random = conversation.imagination, conversation.random

    def chat(self, kind: str | None = None) -> None:
        """Small talk of one kind or another."""
        kind = kind or self._random.choice(
            [*_OWN_POOLS, *_OUR_POOLS, "outside", "unknown", "unknown", "unknown", "noise", "noise", "nod"]
        )
        reply = self._speaker.own(_OWN_POOLS[kind]) if kind in _OWN_POOLS else self._speaker.ours(kind)
        self._conversation.say(self._asker.question(kind), reply)

    def ask_opinion(self) -> None:
        """What the character thinks about something big."""
        theme = self._random.choice(themes())
        question = fill_known(self._random.choice(load_grammar("questions")["opinion"]), {"theme": theme})
        asked = self._asker.careless(capitalize(choose_branches(self._random, question)))
        self._conversation.say(asked, self._speaker.ours("theme", theme=theme))

    def echo(self, kind: str | None = None) -> None:
        """News, a gift or a wish with one word in it that the reply takes up."""
        kind = kind or self._random.choice(sorted(_ECHOED))
        word = self._imagination.slot(_ECHOED[kind])
        line = fill_known(self._random.choice(load_grammar("questions")[kind]), {_ECHOED[kind]: word})
        said = capitalize(choose_branches(self._random, self._imagination.text(line)))
        # No typo: it would hide the word.
        self._conversation.say(self._asker.careless(said, keep=True), self._speaker.ours(kind, **{_ECHOED[kind]: word}))

    def ask_echo(self) -> None:
        """Something nobody expected, taken up by the character."""
        topic = self._imagination.slot("topic")
        line = fill_known(self._random.choice(load_grammar("questions")["echo"]), {"topic": topic})
        question = choose_branches(self._random, self._imagination.text(line))
        self._conversation.say(self._asker.careless(capitalize(question)), self._speaker.ours("echo", topic=topic))
