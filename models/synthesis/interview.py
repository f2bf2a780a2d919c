"""Questions about the card: one field, two at once, yes or no, why, who are you, a story, and what of that."""

from collections.abc import Callable

from models.synthesis.chatter import Chatter
from models.synthesis.clothing import imagine_lore
from models.synthesis.conversation import Conversation
from models.synthesis.grammar import capitalize, fill_known, load_grammar, split_lines
from models.synthesis.replies import AFTERTHOUGHTS
from models.synthesis.traits import FREE_FIELDS

FIELDS = ("name", "age", "birth_place", "gender", "race", *FREE_FIELDS, "speech_style")
_CONFIRMED = ("name", "age", "birth_place", "friend", "likes", "fears")


class Interview:
    """The part of a conversation that is about what the card says."""

    def __init__(self, conversation: Conversation, chatter: Chatter) -> None:
        self._conversation, self._chatter = conversation, chatter
        self._character, self._speaker = conversation.character, conversation.speaker
        self._asker, self._imagination, self._random = conversation.asker, conversation.imagination, conversation.random

    def ask(self, field: str | None = None) -> None:
        """A question about a field of the card."""
        field = field or self._random.choice(FIELDS)
        self._conversation.say(self._asker.question(field), self._speaker.answer(field), field)

    def drill(self, field: str) -> None:
        """A plain question and the bare answer."""
        reply = self._speaker.core(field) if self._speaker.knows(field) else self._speaker.answer(field)
        self._conversation.say(self._asker.question(field, plain=True), reply, field)

    def ask_twice(self) -> None:
        """Two questions in one message."""
        known = [field for field in FIELDS[:-1] if self._speaker.knows(field)]
        if len(known) < 2:
            return self.ask()
        first, second = self._random.sample(known, 2)
        one, two = self._asker.question(first, plain=True), self._asker.question(second, plain=True)
        joined = (
            f"{one} {two}" if self._random.random() < 0.5 else f"{one.rstrip('?.')}, and {two[:1].lower() + two[1:]}"
        )
        reply = self._speaker.compose(lambda: f"{self._speaker.core(first)} {self._speaker.core(second)}", "", "")
        self._conversation.say(joined, reply, second)
        return None

    def follow_up(self) -> None:
        """Why, really, tell me more, say that again: about what was just said."""
        topic, speaker = self._conversation.topic, self._speaker
        follow_ups: list[tuple[list[str], Callable[[], str]]] = [
            (question_lines("why"), lambda: speaker.ours("why")),
            (question_lines("more"), lambda: speaker.ours("more")),
            (question_lines("really"), lambda: speaker.ours("really")),
            (question_lines("again"), lambda: speaker.again(topic)),
        ]
        asked, reply = self._random.choice(follow_ups)
        self._conversation.say(self._random.choice(asked), reply(), topic if self._random.random() < 0.3 else "")

    def confirm(self) -> None:
        """A yes-or-no question about the card, true or false."""
        field = self._random.choice([field for field in _CONFIRMED if self._speaker.knows(field)])
        value, true = self._character.values[field], self._random.random() < 0.5
        if value.shape == "clause":
            return self.ask(field)
        right = value.spoken if field in ("name", "age") else value.short
        wrong = {
            "age": str(self._random.randint(5, 99)),
            "likes": self._imagination.one("joy"),
            "fears": self._imagination.slot("dread_you"),
        }
        x = right if true else wrong.get(field, self._imagination.forge.name())
        self._conversation.say(
            fill_known(self._random.choice(question_lines(f"confirm_{field}")), {"x": x}),
            self._speaker.confirm(field, true=true or x == right),
            field,
        )
        return None

    def ask_about(self) -> None:
        """Who are you: the name, and what there is to say."""
        known = [
            field for field in ("general_experience", "birth_place", "personality", "age") if self._speaker.knows(field)
        ]
        if not known or not self._speaker.knows("name"):
            return self.ask("name")
        field = known[0] if self._random.random() < 0.6 else self._random.choice(known)
        spoken = self._character.values[field].spoken
        reply = self._speaker.compose(
            lambda: f"{self._speaker.core('name')} {self._speaker.core(field)}", AFTERTHOUGHTS[field], spoken
        )
        self._conversation.say(self._asker.question("about"), reply, field)
        return None

    def ask_story(self) -> None:
        """A story out of the character's life."""
        value = self._character.values.get("general_experience")
        if value is None or value.shape == "noun" or self._character.voice == "terse":
            return self._chatter.chat("joke")
        endings = split_lines(load_grammar("answers")["story"]["extra"])
        story = self._speaker.compose(
            lambda: f"{self._speaker.frame('story', v=value.spoken)} {self._random.choice(endings)}",
            "",
            "",
        )
        self._conversation.say(self._asker.question("story"), story, "general_experience")
        return None

    def ask_lore(self) -> None:
        """A thing that the description tells of."""
        if not self._character.lore:
            return self.ask()
        self._ask_about(*self._random.choice(sorted(self._character.lore.items())))
        return None

    def end_with_lore(self) -> None:
        """A last question about something that only the message before it tells."""
        name, text = imagine_lore(self._imagination)
        self._conversation.tail = text
        self._ask_about(name, text.split(": ", 1)[1].removesuffix("."))

    def _ask_about(self, name: str, what: str) -> None:
        cards = load_grammar("cards")
        asked = fill_known(self._random.choice(split_lines(cards["lore_ask"])), {"Lore": name})
        typed, slots = self._asker.careless(asked), {"Lore": capitalize(name), "v": what}
        self._conversation.say(typed, self._speaker.recite((cards["lore_say"], slots)))


def question_lines(kind: str) -> list[str]:
    """The lines of questions.yaml of one kind."""
    lines: list[str] = load_grammar("questions")[kind]
    return lines
