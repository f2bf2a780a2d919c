"""What the user tells of themself, and later asks back."""

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
        fact = imagine_fact(self._imagination, kind)
        entry = load_grammar("facts")[kind]
        told = capitalize(fill_known(self._random.choice(split_lines(entry["tell"])), fact))
        reply = self._speaker.recite(entry["ack"], **fact) if self._random.random() < 0.9 else self._speaker.ours("nod")
        field = _BACK.get(kind, "")
        if field and self._speaker.knows(field) and self._random.random() < 0.25:
            told = f"{told} {self._random.choice(question_lines('also'))}"
            reply = self._speaker.answer(field)
        elif self._random.random() < 0.12 and self._speaker.knows(field := self._random.choice(FIELDS[:-1])):
            told = f"{told} {self._asker.question(field, plain=True)}"
            reply = self._speaker.answer(field)
        self.facts[kind] = fact
        self._told.append((kind, len(self._conversation.messages)))
        self._conversation.say(self._asker.careless(told, keep=True), reply)
        return None

    def recall(self, kind: str) -> None:
        """The user asks for what they said."""
        entry, fact = load_grammar("facts")[kind], self.facts[kind]
        self._told = [(name, when) for name, when in self._told if name != kind or self._random.random() < 0.2]
        question = fill_known(self._random.choice(split_lines(entry["ask"])), fact)
        self._conversation.say(self._asker.careless(question), self._speaker.recite(entry["recall"], **fact))

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
        entry = load_grammar("facts")[self._random.choice(kinds)]
        slots = {slot: self._imagination.slot(slot) for slot in ("beast", "kin")}
        question = fill_known(self._random.choice(split_lines(entry["ask"])), slots)
        self._conversation.say(self._asker.careless(question), self._speaker.recite(entry["never"], **slots))
        return None

    def _unknown(self) -> list[str]:
        """Kinds of facts that nobody has told."""
        facts = load_grammar("facts").items()
        return [kind for kind, entry in facts if isinstance(entry, dict) and kind not in self.facts]


def _said(kind: str, fact: dict[str, str]) -> list[str]:
    """What of a fact the answers to a question for it say."""
    return [text for slot, text in fact.items() if "{" + slot + "}" in load_grammar("facts")[kind]["recall"]]
