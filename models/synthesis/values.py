"""What a card says in a field, and how its character says the same of themself."""

import re
from dataclasses import dataclass
from random import Random

from models.synthesis.grammar import capitalize, fill, fix_articles, load_grammar, split_items, split_lines, with_article, words
from models.synthesis.names import NameForge

Shape = str
_MARK = re.compile(r"\[(\w+)\]")
_PRONOUNS = {
    "she": {"s": "she", "o": "her", "p": "her", "f": "herself"},
    "he": {"s": "he", "o": "him", "p": "his", "f": "himself"},
    "they": {"s": "they", "o": "them", "p": "their", "f": "themselves"},
    "I": {"s": "I", "o": "me", "p": "my", "f": "myself"},
}
_VERBS = {"is": ("is", "are", "am"), "was": ("was", "were", "was"), "has": ("has", "have", "have")}
_PLURALS = {"goose": "geese", "fox": "foxes"}


@dataclass(frozen=True, slots=True)
class Value:
    """A field of a character: `card` is what the card says, `spoken` what the character says of it.

    `spoken` begins with a small letter unless a name or `I` opens it; `shape` picks the frame of an answer.
    """

    card: str
    spoken: str
    shape: Shape = ""

    @property
    def short(self) -> str:
        """What is said before the first comma, full stop or colon: of a friend, the name."""
        return re.split(r"[,.:]", self.spoken)[0]


def inflect(text: str, person: str) -> str:
    """`text` with its marks ([s], [p], [has] …) put into the person of `she`, `he`, `they` or `I`."""

    def replace(match: re.Match[str]) -> str:
        mark = match[1]
        if mark.lower() in "sopf":
            word = _PRONOUNS[person][mark.lower()]
            return capitalize(word) if mark.isupper() else word
        singular, plural, first = _VERBS.get(mark, (mark, mark.removesuffix("s"), mark.removesuffix("s")))
        return {"they": plural, "I": first}.get(person, singular)

    return _MARK.sub(replace, text)


class Imagination:
    """Fills slots such as `{trade}` or `{Person}` from one `Random` and one forge."""

    def __init__(self, random: Random, forge: NameForge) -> None:
        self.random = random
        self.forge = forge

    def text(self, line: str) -> str:
        """`line` with every slot filled; marks of person stay."""
        return fix_articles(fill(line, self.slot))

    def one(self, name: str) -> str:
        """An item of a word list."""
        return self.random.choice(words(name))

    def slot(self, slot: str) -> str:
        """What goes into `{slot}`."""
        random, forge = self.random, self.forge
        match slot:
            case "Person":
                return forge.person()
            case "Place" | "Town":
                return forge.town()
            case "Name1":
                return forge.name()
            case "Word":
                return forge.word().capitalize()
            case "word":
                return random.choice([forge.word, lambda: self.one("thing"), lambda: self.one("beast")])()
            case "trade":
                return self.trade()
            case "aTrade" | "ATrade" | "asTrade" | "theTrade":
                trade = self.trade()
                noun = f"the {trade}" if slot == "theTrade" else with_article(trade)
                return {"ATrade": capitalize(noun), "asTrade": f"as {noun}"}.get(slot, noun)
            case "aThing":
                return with_article(self.one("thing"))
            case "theThing":
                return f"the {self.one('thing')}"
            case "beast_p":
                beast = self.one("beast")
                return _PLURALS.get(beast, beast + "s")
            case "n":
                return random.choice([self.one("number"), str(random.randint(2, 60))])
            case "N":
                return capitalize(random.choice([self.one("number"), str(random.randint(2, 60))]))
            case "digits":
                return str(random.randint(9, 99))
            case "elsewhere":
                return self.text(random.choice(["in {Place}", "on ships out of {Place}", "for {crowd}", "at sea", "in {Place}"]))
            case "didFor" | "habit" | "shop":
                return self.text(random.choice(split_lines(load_grammar("values")[slot])))
            case "Habit":
                return capitalize(self.slot("habit"))
            case "habit_1":
                habits = [line for line in split_lines(load_grammar("values")["habit"]) if "[" not in line]
                return self.text(random.choice(habits))
            case "dish" | "shade" | "dread_you":
                return random.choice(split_items(load_grammar("facts")[slot]))
            case "topic":
                return random.choice([lambda: self.one("art"), lambda: self.one("joy"), lambda: self.slot("dish"), forge.word, lambda: self.one("dread").replace("[p]", "one's")])()
            case "theme":
                return random.choice(split_items(load_grammar("answers")["theme"]["words"]))
            case _:
                return self.one(slot.removesuffix("_s").lower())

    def trade(self) -> str:
        """A trade of the list, or one that doesn't exist."""
        if self.random.random() < 0.1:
            return f"{self.forge.word()} {self.random.choice(['keeper', 'maker', 'seller', 'hunter', 'tamer', 'painter'])}"
        return self.one("trade")

    def value(self, field: str, pronoun: str, perspective: str) -> Value:
        """A value for one of the free fields (values.yaml), as a card in that `perspective` writes it.

        `perspective` is a pronoun, "I", or a name that stands for the subject.
        """
        shapes = load_grammar("values")[field]
        shape = self.random.choice([name for name in shapes for _ in range(2 if name == "loose" else 1)])
        line = self.text(self.random.choice(split_lines(shapes[shape])))
        spoken = inflect(line, "I")
        if perspective in _PRONOUNS:
            card = inflect(line, perspective)
        else:
            card = inflect(line.replace("[S]", perspective, 1), "he" if pronoun == "they" else pronoun)
        return Value(self._finish(card), self._shorten(spoken), _refine(field, shape, spoken))

    def _finish(self, text: str) -> str:
        text = capitalize(text) if self.random.random() < 0.55 or ". " in text else text
        return text + "." if self.random.random() < 0.3 or ". " in text else text

    def _shorten(self, spoken: str) -> str:
        """Half of the time only the first of two sentences, as people do."""
        if ". " in spoken and self.random.random() < 0.5:
            spoken = spoken.split(". ")[0]
        return spoken


def _refine(field: str, shape: Shape, spoken: str) -> Shape:
    """The shape of an answer: a loose value that opens with an article takes the frame for nouns."""
    if shape == "loose" and field in ("appearance", "general_experience") and re.match(r"(a|an) ", spoken):
        return "noun"
    return shape
