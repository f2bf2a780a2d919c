"""A conversation, made move by move: what a user says, and what the character can say to that."""

import re
from collections.abc import Callable
from random import Random

from models.synthesis.asker import Asker
from models.synthesis.character import Character
from models.synthesis.clothing import imagine_lore
from models.synthesis.grammar import capitalize, choose_branches, fill_known, fix_articles, load_grammar, split_lines
from models.synthesis.imagination import Imagination
from models.synthesis.names import NameForge
from models.synthesis.replies import AFTERTHOUGHTS, Speaker, themes
from models.synthesis.users import imagine_fact

FIELDS = (
    "name",
    "age",
    "birth_place",
    "gender",
    "race",
    "appearance",
    "general_experience",
    "personality",
    "likes",
    "fears",
    "friend",
    "secret",
    "goal",
    "speech_style",
)
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
}
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
_BACK = {
    "town": "birth_place",
    "job": "general_experience",
    "hobby": "likes",
    "food": "likes",
    "fear": "fears",
    "wish": "goal",
    "companion": "friend",
    "age": "age",
    "name": "name",
}
_CONFIRMED = ("name", "age", "birth_place", "friend", "likes", "fears")


class Talk:
    """A conversation in the making. `messages` are (role, text), in order."""

    def __init__(self, character: Character, random: Random) -> None:
        self.character = character
        self.random = random
        self.speaker = Speaker(character, random)
        self.messages: list[tuple[str, str]] = []
        self.tail = ""
        self._imagination = Imagination(random, NameForge(random))
        self._asker = Asker(character, self._imagination)
        self._facts = dict(character.facts)
        self._untold = set(character.facts)
        self._told: list[tuple[str, int]] = []
        self._topic = ""

    def greet(self) -> None:
        """Begin with the card's greeting, where it has one."""
        greetings = self.character.card.greetings()
        if greetings:
            self.messages.append(("assistant", self.character.card.expand(greetings[0], self.character.user.name)))

    def go_on(self) -> None:
        """One more exchange."""
        due = [kind for kind, when in self._told if len(self.messages) - when >= 4]
        if due and self.random.random() < 0.45:
            return self.recall(self.random.choice(due))
        if self._topic and self.random.random() < 0.22:
            return self.follow_up()
        moves: list[tuple[Callable[[], None], float]] = [
            (self.ask, 34),
            (self.ask_twice, 5),
            (self.confirm, 5),
            (self.tell, 11),
            (self.recall_persona, 5),
            (self.ask_never, 2),
            (self.chat, 36),
            (self.ask_opinion, 3),
            (self.ask_echo, 6),
            (self.ask_about, 3),
            (self.ask_story, 2),
            (self.ask_where, 1.5),
            (self.ask_lore, 4),
        ]
        self.random.choices([move for move, _ in moves], [weight for _, weight in moves])[0]()
        return None

    def ask(self, field: str | None = None) -> None:
        """A question about a field of the card."""
        field = field or self.random.choice(FIELDS)
        self._say(self._asker.question(field), self.speaker.answer(field), field)

    def drill(self, field: str) -> None:
        """A plain question and the bare answer."""
        reply = self.speaker.core(field) if self.speaker.knows(field) else self.speaker.answer(field)
        self._say(self._asker.question(field, plain=True), reply, field)

    def ask_twice(self) -> None:
        """Two questions in one message."""
        known = [field for field in FIELDS[:-1] if self.speaker.knows(field)]
        if len(known) < 2:
            return self.ask()
        first, second = self.random.sample(known, 2)
        one, two = self._asker.question(first, plain=True), self._asker.question(second, plain=True)
        joined = (
            f"{one} {two}" if self.random.random() < 0.5 else f"{one.rstrip('?.')}, and {two[:1].lower() + two[1:]}"
        )
        reply = self.speaker.compose(lambda: f"{self.speaker.core(first)} {self.speaker.core(second)}", "", "")
        self._say(joined, reply, second)
        return None

    def follow_up(self) -> None:
        """Why, really, tell me more, say that again: about what was just said."""
        topic, speaker = self._topic, self.speaker
        follow_ups: list[tuple[list[str], Callable[[], str]]] = [
            (self._lines("why"), lambda: speaker.ours("why")),
            (self._lines("more"), lambda: speaker.ours("more")),
            (self._lines("really"), lambda: speaker.ours("really")),
            (self._lines("again"), lambda: speaker.again(topic)),
        ]
        asked, reply = self.random.choice(follow_ups)
        self._say(self.random.choice(asked), reply(), topic if self.random.random() < 0.3 else "")

    def confirm(self) -> None:
        """A yes-or-no question about the card, true or false."""
        field = self.random.choice([field for field in _CONFIRMED if self.speaker.knows(field)])
        value, true = self.character.values[field], self.random.random() < 0.5
        if value.shape == "clause":
            return self.ask(field)
        right = value.spoken if field in ("name", "age") else value.short
        wrong = {
            "age": str(self.random.randint(5, 99)),
            "likes": self._imagination.one("joy"),
            "fears": self._imagination.slot("dread_you"),
        }
        x = right if true else wrong.get(field, self._imagination.forge.name())
        self._say(
            fill_known(self.random.choice(self._lines(f"confirm_{field}")), {"x": x}),
            self.speaker.confirm(field, true=true or x == right),
            field,
        )
        return None

    def tell(self, kind: str | None = None) -> None:
        """The user says something about themself, and may ask the same of the character."""
        kinds = [
            name for name, entry in load_grammar("facts").items() if isinstance(entry, dict) and name not in self._facts
        ]
        if not kinds:
            return self.ask()
        kind = kind or self.random.choice(kinds)
        fact = imagine_fact(self._imagination, kind)
        entry = load_grammar("facts")[kind]
        told = capitalize(fill_known(self.random.choice(split_lines(entry["tell"])), fact))
        reply = self.speaker.recite(entry["ack"], **fact) if self.random.random() < 0.9 else self.speaker.ours("nod")
        field = _BACK.get(kind, "")
        if field and self.speaker.knows(field) and self.random.random() < 0.25:
            told = f"{told} {self.random.choice(self._lines('also'))}"
            reply = self.speaker.answer(field)
        elif self.random.random() < 0.12 and self.speaker.knows(field := self.random.choice(FIELDS[:-1])):
            told = f"{told} {self._asker.question(field, plain=True)}"
            reply = self.speaker.answer(field)
        self._facts[kind] = fact
        self._told.append((kind, len(self.messages)))
        self._say(self._asker.careless(told, keep=True), reply, "")
        return None

    def recall(self, kind: str) -> None:
        """The user asks for what they said."""
        entry, fact = load_grammar("facts")[kind], self._facts[kind]
        self._told = [(name, when) for name, when in self._told if name != kind or self.random.random() < 0.2]
        question = fill_known(self.random.choice(split_lines(entry["ask"])), fact)
        self._say(self._asker.careless(question), self.speaker.recite(entry["recall"], **fact), "")

    def recall_persona(self) -> None:
        """The user asks for what the card says of them."""
        if not self.character.facts:
            return self.chat()
        self.recall(self.random.choice(sorted(self.character.facts)))
        return None

    def ask_never(self) -> None:
        """The user asks for what they never said."""
        kinds = [
            name for name, entry in load_grammar("facts").items() if isinstance(entry, dict) and name not in self._facts
        ]
        if not kinds:
            return self.chat()
        entry = load_grammar("facts")[self.random.choice(kinds)]
        slots = {slot: self._imagination.slot(slot) for slot in ("beast", "kin")}
        question = fill_known(self.random.choice(split_lines(entry["ask"])), slots)
        self._say(self._asker.careless(question), self.speaker.recite(entry["never"], **slots), "")
        return None

    def chat(self, kind: str | None = None) -> None:
        """Small talk of one kind or another."""
        kind = kind or self.random.choice(
            [*_OWN_POOLS, *_OUR_POOLS, "outside", "unknown", "unknown", "unknown", "noise", "noise", "nod"]
        )
        reply = self.speaker.own(_OWN_POOLS[kind]) if kind in _OWN_POOLS else self.speaker.ours(kind)
        self._say(self._asker.question(kind), reply, "")

    def ask_opinion(self) -> None:
        """What the character thinks about something big."""
        theme = self.random.choice(themes())
        question = fill_known(self.random.choice(load_grammar("questions")["opinion"]), {"theme": theme})
        self._say(
            self._asker.careless(capitalize(choose_branches(self.random, question))),
            self.speaker.ours("theme", theme=theme),
            "",
        )

    def ask_echo(self) -> None:
        """Something nobody expected, taken up by the character."""
        topic = self._imagination.slot("topic")
        lines = load_grammar("questions")["echo"]
        question = capitalize(
            choose_branches(
                self.random, self._imagination.text(fill_known(self.random.choice(lines), {"topic": topic}))
            )
        )
        self._say(self._asker.careless(question), self.speaker.ours("echo", topic=topic), "")

    def ask_about(self) -> None:
        """Who are you: the name, and what there is to say."""
        known = [
            field for field in ("general_experience", "birth_place", "personality", "age") if self.speaker.knows(field)
        ]
        if not known or not self.speaker.knows("name"):
            return self.ask("name")
        field = known[0] if self.random.random() < 0.6 else self.random.choice(known)
        spoken = self.character.values[field].spoken
        reply = self.speaker.compose(
            lambda: f"{self.speaker.core('name')} {self.speaker.core(field)}", AFTERTHOUGHTS[field], spoken
        )
        self._say(self._asker.question("about"), reply, field)
        return None

    def ask_story(self) -> None:
        """A story out of the character's life."""
        value = self.character.values.get("general_experience")
        if value is None or value.shape == "noun" or self.character.voice == "terse":
            return self.chat("joke")
        endings = split_lines(load_grammar("answers")["story"]["extra"])
        story = self.speaker.compose(
            lambda: f"{self.speaker.frame('story', v=value.spoken)} {self.random.choice(endings)}",
            "",
            "",
        )
        self._say(self._asker.question("story"), story, "general_experience")
        return None

    def ask_where(self) -> None:
        """Where the scenario takes place."""
        scene = re.split(r"[.;,]", self.character.card.data.scenario)[0]
        pool = "where" if scene and "{{" not in scene else "nowhere"
        reply = self.speaker.ours(pool, v=scene[:1].lower() + scene[1:]) if pool == "where" else self.speaker.ours(pool)
        self._say(self._asker.question("where"), reply, "")

    def ask_lore(self) -> None:
        """A thing that the description tells of."""
        if not self.character.lore:
            return self.ask()
        self._ask_about(*self.random.choice(sorted(self.character.lore.items())))
        return None

    def end_with_lore(self) -> None:
        """A last question about something that only the message before it tells."""
        name, text = imagine_lore(self._imagination)
        self.tail = text
        self._ask_about(name, text.split(": ", 1)[1].removesuffix("."))

    def _ask_about(self, name: str, what: str) -> None:
        cards = load_grammar("cards")
        asked = fill_known(self.random.choice(split_lines(cards["lore_ask"])), {"Lore": name})
        self._say(
            self._asker.careless(asked), self.speaker.recite(cards["lore_say"], Lore=capitalize(name), v=what), ""
        )

    def _say(self, user: str, reply: str, topic: str) -> None:
        self.messages += [("user", fix_articles(user)), ("assistant", reply)]
        self._topic = topic if topic in self.character.values else ""

    def _lines(self, kind: str) -> list[str]:
        lines: list[str] = load_grammar("questions")[kind]
        return lines
