"""What the user tells of themself, one thing or two at a time, and later asks back."""

from collections.abc import Mapping

from models.synthesis.chatter import Chatter
from models.synthesis.conversation import Conversation
from models.synthesis.grammar import capitalize, fill_known, load_grammar, split_lines
from models.synthesis.interview import FIELDS, Interview, question_lines
from models.synthesis.users import imagine_fact

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
_BOTH = 0.3
_REMINDING = 0.25
# What makes a question one for what was said before.
_REMINDERS = (
    " again?",
    ", you remember?",
    ", do you still remember?",
    ", do you still know?",
    ", if you were listening?",
    ", or have you forgotten?",
)

Fact = dict[str, str]


class Memory:
    """The part of a conversation that is about the user. `facts` are those that the card or the user has told."""

    def __init__(self, conversation: Conversation, interview: Interview, chatter: Chatter) -> None:
        self._conversation, self._interview, self._chatter = conversation, interview, chatter
        self._character, self._speaker = conversation.character, conversation.speaker
        self._asker, self._imagination, self._random = conversation.asker, conversation.imagination, conversation.random
        self.facts = dict(conversation.character.facts)
        self._told: list[tuple[str, int]] = []

    def due(self) -> list[str]:
        """Kinds of facts that were told long enough ago to be asked for."""
        return [kind for kind, when in self._told if len(self._conversation.messages) - when >= 4]

    def tell(self, kind: str | None = None) -> None:
        """The user says something about themself, and may ask the same of the character."""
        kinds = self._unknown()
        if not kinds:
            return self._interview.ask()
        kind = kind or self._random.choice(kinds)
        fact = self._imagine(kind)
        told, field = capitalize(self._line(kind, "tell", fact)), _BACK.get(kind, "")
        if field and self._speaker.knows(field) and self._random.random() < 0.25:
            told, reply = f"{told} {self._random.choice(question_lines('also'))}", self._speaker.answer(field)
        elif self._random.random() < 0.12 and self._speaker.knows(field := self._random.choice(FIELDS[:-1])):
            told, reply = f"{told} {self._asker.question(field, plain=True)}", self._speaker.answer(field)
        elif self._random.random() < 0.9:
            reply = self._speaker.recite((_entry(kind)["ack"], fact), opening="heard")
        else:
            reply = self._speaker.ours("nod")
        self._keep(kind, fact)
        self._conversation.say(self._asker.careless(told, keep=True), reply)
        return None

    def tell_two(self) -> None:
        """The user says two things about themself in one message, and both are taken note of."""
        kinds = self._unknown()
        if len(kinds) < 2:
            return self.tell()
        both = {kind: self._imagine(kind) for kind in self._random.sample(kinds, 2)}
        lines = [capitalize(self._line(kind, "tell", fact)) for kind, fact in both.items()]
        reply = self._speaker.recite(*((_entry(kind)["ack"], fact) for kind, fact in both.items()), opening="heard")
        for kind, fact in both.items():
            self._keep(kind, fact)
        told = " ".join(line if line[-1] in ".!?" else f"{line}." for line in lines)
        self._conversation.say(self._asker.careless(told, keep=True), reply)
        return None

    def recall(self, *kinds: str) -> None:
        """The user asks for what they said, for one thing or for several in one message."""
        self._told = [(name, when) for name, when in self._told if name not in kinds or self._random.random() < 0.2]
        asked = self._join([self._line(kind, "ask", self.facts[kind]) for kind in kinds])
        if len(kinds) == 1 and self._random.random() < _REMINDING:
            asked = self._remind(asked)
        reply = self._speaker.recite(*((_entry(kind)["recall"], self.facts[kind]) for kind in kinds))
        self._conversation.say(self._asker.careless(asked), reply)

    def recall_due(self) -> None:
        """The user asks for something that is due, or for two things at once."""
        due = list(dict.fromkeys(self.due()))
        count = 2 if len(due) > 1 and self._random.random() < _BOTH else 1
        self.recall(*self._random.sample(due, count))

    def keep(self, text: str) -> None:
        """Forget what was told of which `text` says nothing; what the card says of the user stays."""
        told = text.casefold()
        self.facts = {
            kind: fact
            for kind, fact in self.facts.items()
            if kind in self._character.facts or all(word.casefold() in told for word in _said(kind, fact))
        }
        self._told = [(kind, when) for kind, when in self._told if kind in self.facts]

    def recall_persona(self) -> None:
        """The user asks for what the card says of them."""
        if not self._character.facts:
            return self._chatter.chat()
        self.recall(self._random.choice(sorted(self._character.facts)))
        return None

    def ask_never(self) -> None:
        """The user asks for what they never said."""
        kinds = self._unknown()
        if not kinds:
            return self._chatter.chat()
        kind = self._random.choice(kinds)
        fact = self._imagine(kind)
        asked = self._line(kind, "ask", fact)
        self._conversation.say(self._asker.careless(asked), self._speaker.recite((_entry(kind)["never"], fact)))
        return None

    def _imagine(self, kind: str) -> Fact:
        """A fact of that kind, on a day of which nothing was told."""
        days = {fact["day"] for fact in self.facts.values() if "day" in fact}
        while True:
            fact = imagine_fact(self._imagination, kind)
            if fact.get("day") not in days:
                return fact

    def _keep(self, kind: str, fact: Fact) -> None:
        self.facts[kind] = fact
        self._told.append((kind, len(self._conversation.messages)))

    def _line(self, kind: str, pool: str, fact: Mapping[str, str]) -> str:
        return fill_known(self._random.choice(split_lines(_entry(kind)[pool])), fact)

    def _join(self, questions: list[str]) -> str:
        """Several questions in one message."""
        first, *others = questions
        for other in others:
            if self._random.random() < 0.5:
                first = f"{first if first[-1] in '.?' else f'{first}?'} {other}"
            else:
                first = f"{first.rstrip('?.')}, and {other[:1].lower()}{other[1:]}"
        return first

    def _remind(self, question: str) -> str:
        """A plain question with an end that says that it was answered before."""
        if not question.endswith("?") or "remember" in question or "forget" in question:
            return question
        return question[:-1] + self._random.choice(_REMINDERS)

    def _unknown(self) -> list[str]:
        """Kinds of facts that nobody has told."""
        facts = load_grammar("facts").items()
        return [kind for kind, entry in facts if isinstance(entry, dict) and kind not in self.facts]


def _entry(kind: str) -> dict[str, str]:
    """What facts.yaml says of a kind: the blocks of lines."""
    entry: dict[str, str] = load_grammar("facts")[kind]
    return entry


def _said(kind: str, fact: Mapping[str, str]) -> list[str]:
    """What of a fact the answers to a question for it say."""
    return [text for slot, text in fact.items() if "{" + slot + "}" in _entry(kind)["recall"]]
