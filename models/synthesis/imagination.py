"""What fills the slots of the grammar: a word of a list, a made-up name, a whole value for a field of a card."""

import re
from collections.abc import Callable
from random import Random

from models.synthesis.grammar import (
    capitalize,
    fill,
    fix_articles,
    load_grammar,
    split_items,
    split_lines,
    with_article,
    words,
)
from models.synthesis.names import NameForge
from models.synthesis.values import PRONOUNS, Shape, Value, inflect

_PLURALS = {"goose": "geese", "jack-in-the-box": "jacks-in-the-box", "chrysalis": "chrysalides"}
_NEW_TRADES = ["keeper", "maker", "seller", "hunter", "tamer", "painter"]
_ELSEWHERE = ["in {Place}", "on ships out of {Place}", "for {crowd}", "at sea", "in {Place}"]


class Imagination:
    """Fills slots such as `{trade}` or `{Person}` from one `Random` and one forge."""

    def __init__(self, random: Random, forge: NameForge) -> None:
        self.random = random
        self.forge = forge
        self._rules: dict[str, Callable[[], str]] = {
            "Person": forge.person,
            "Place": forge.town,
            "Town": forge.town,
            "Name1": forge.name,
            "Word": lambda: forge.word().capitalize(),
            "word": self._word,
            "knot": forge.knot,
            "Knot": lambda: capitalize(forge.knot()),
            "babble": forge.babble,
            "trade": self.trade,
            "aTrade": lambda: with_article(self.trade()),
            "ATrade": lambda: capitalize(with_article(self.trade())),
            "asTrade": lambda: f"as {with_article(self.trade())}",
            "theTrade": lambda: f"the {self.trade()}",
            "aThing": lambda: with_article(self.one("thing")),
            "theThing": lambda: f"the {self.one('thing')}",
            "aRare": lambda: with_article(self.one("rare")),
            "beast_p": lambda: _plural(self.one("beast")),
            "thing_p": lambda: _plural(self.one("thing")),
            "rare_p": lambda: _plural(self.one("rare")),
            "n": self._count,
            "N": lambda: capitalize(self._count()),
            "digits": lambda: str(random.randint(9, 99)),
            "elsewhere": lambda: self.text(random.choice(_ELSEWHERE)),
            "didFor": lambda: self._line("didFor"),
            "shop": lambda: self._line("shop"),
            "habit": lambda: self._line("habit"),
            "Habit": lambda: capitalize(self._line("habit")),
            "habit_1": self._neutral_habit,
            "dish": lambda: self._item("dish"),
            "shade": lambda: self._item("shade"),
            "dread_you": lambda: self._item("dread_you"),
            "occasion": lambda: self._item("occasion"),
            "celebration": lambda: self._item("celebration"),
            "day": lambda: self._item("weekday"),
            "drink": lambda: self._item("drink"),
            "topic": self._topic,
            "theme": lambda: random.choice(split_items(load_grammar("answers")["theme"]["words"])),
        }

    def text(self, line: str) -> str:
        """`line` with every slot filled; marks of person stay."""
        return fix_articles(fill(line, self.slot))

    def one(self, name: str) -> str:
        """An item of a word list."""
        return self.random.choice(words(name))

    def slot(self, slot: str) -> str:
        """What goes into `{slot}`; a slot without a rule of its own is a word list of words.yaml."""
        rule = self._rules.get(slot)
        return rule() if rule else self.one(slot.removesuffix("_s").lower())

    def trade(self) -> str:
        """A trade of the list, or one that doesn't exist."""
        if self.random.random() < 0.1:
            return f"{self.forge.word()} {self.random.choice(_NEW_TRADES)}"
        return self.one("trade")

    def value(self, field: str, pronoun: str, perspective: str, *, long: bool = False) -> Value:
        """A value for one of the free fields (values.yaml), as a card in that `perspective` writes it.

        `perspective` is a pronoun, "I", or a name that stands for the subject. A `long` one has rare words and lists.
        """
        shapes = load_grammar("values")["long"][field] if long else load_grammar("values")[field]
        shape = self.random.choice([name for name in shapes for _ in range(2 if name == "loose" else 1)])
        line = self.text(self.random.choice(split_lines(shapes[shape])))
        spoken = inflect(line, "I")
        if perspective in PRONOUNS:
            card = inflect(line, perspective)
        else:
            card = inflect(line.replace("[S]", perspective, 1), "he" if pronoun == "they" else pronoun)
        return Value(self._finish(card), self._shorten(spoken), _refine(field, shape, spoken))

    def _count(self) -> str:
        return self.random.choice([self.one("number"), str(self.random.randint(2, 60))])

    def _line(self, pool: str) -> str:
        return self.text(self.random.choice(split_lines(load_grammar("values")[pool])))

    def _item(self, pool: str) -> str:
        return self.random.choice(split_items(load_grammar("facts")[pool]))

    def _neutral_habit(self) -> str:
        """A habit that names nobody's pronoun."""
        habits = [line for line in split_lines(load_grammar("values")["habit"]) if "[" not in line]
        return self.text(self.random.choice(habits))

    def _word(self) -> str:
        kinds: list[Callable[[], str]] = [self.forge.word, lambda: self.one("thing"), lambda: self.one("beast")]
        return self.random.choice(kinds)()

    def _topic(self) -> str:
        kinds: list[Callable[[], str]] = [
            lambda: self.one("art"),
            lambda: self.one("joy"),
            lambda: self._item("dish"),
            self.forge.word,
            lambda: self.one("dread").replace("[p]", "one's"),
        ]
        return self.random.choice(kinds)()

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


def _plural(noun: str) -> str:
    return _PLURALS.get(noun, noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s"))
