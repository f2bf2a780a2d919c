"""What a character answers: a frame filled from the card, put into the character's voice."""

import re
from collections.abc import Callable, Mapping
from random import Random

from models.synthesis.character import Character
from models.synthesis.grammar import capitalize, fill_known, fix_articles, load_grammar, split_items, split_lines
from models.synthesis.imagination import Imagination
from models.synthesis.names import NameForge
from models.synthesis.repertoire import Repertoire
from models.synthesis.values import Value
from models.synthesis.voices import load_voices

AFTERTHOUGHTS = {
    "birth_place": "place",
    "general_experience": "work",
    "appearance": "self",
    "personality": "self",
    "race": "self",
    "gender": "self",
    "likes": "like",
    "fears": "fear",
    "friend": "friend",
    "secret": "secret",
    "goal": "goal",
    "age": "age",
}
# Lines of answers.yaml that are said to news, to a gift, to a gesture: not to a question.
_REACTIONS = frozenset(
    (
        *("glad", "gift", "weather", "act", "need", "place_praise", "nod", "noise"),
        *("lost", "serve", "trouble", "wrong", "insist"),
    )
)
_TRIES = 8
# Replies without an *action* between two that have one.
_CALM = 3
_ACTING = 0.4


class Speaker:
    """A character's mouth. Every reply it makes is in the character's voice."""

    def __init__(self, character: Character, random: Random) -> None:
        self.character = character
        self.random = random
        self.voice = load_voices()[character.voice]
        self._imagination = Imagination(random, NameForge(random))
        self._brief = character.voice == "terse"
        self._repertoire = Repertoire(random)
        self._calm = 0

    def own(self, pool: str) -> str:
        """One of the voice's own lines, now and then with a question back or with the user's name."""
        text = fill_known(self._repertoire.draw(self.voice.lines[pool]), {"char": self.character.card.name})
        if self._named() and pool in ("greet", "bye", "thanks", "praise", "fine", "sad") and self.random.random() < 0.2:
            text = re.sub(r"(?<=\w)([.!?])", rf", {self.character.user.name}\1", text, count=1)
        if pool in ("greet", "praise", "insult") and self.random.random() < 0.12 and not self._brief:
            text = f"{text} {capitalize(self.frame('nod'))}"
        return self._finish(text)

    def ours(self, pool: str, after: str = "", **slots: str) -> str:
        """A line of answers.yaml, composed."""
        opening = "heard" if pool in _REACTIONS else "open"
        quoted = max(slots.values(), key=len, default="")
        return self.compose(lambda: self.frame(pool, **slots), after, quoted, opening=opening)

    def knows(self, field: str) -> bool:
        """Whether the card says it."""
        return field in self.character.values

    def answer(self, field: str) -> str:
        """What the character says when asked about a field; that they can't say, when the card doesn't."""
        if field == "speech_style":
            return self.ours("speech_style")
        if not self.knows(field):
            return self.own("unknown")
        return self.compose(lambda: self.core(field), AFTERTHOUGHTS.get(field, ""), self.character.values[field].spoken)

    def near(self, kind: str, field: str) -> str:
        """What the field says to a question of a kind that the card has no field for."""
        value = self.character.values[field]
        return self.compose(lambda: self._say_value(kind, value), AFTERTHOUGHTS.get(field, ""), value.spoken)

    def core(self, field: str) -> str:
        """The bare answer, without opening or afterthought."""
        value = self.character.values[field]
        extra = (
            ("I am {v} years old.", "I'm {v} years old.", "{v} years old.")
            if value.shape == "digits" and not self._brief
            else ()
        )
        return self._say_value(field, value, extra)

    def again(self, field: str, pool: str = "again") -> str:
        """The answer once more."""
        value = self.character.values[field]
        opening = "heard" if pool in _REACTIONS else "open"
        return self.compose(lambda: self._say_value(pool, value), "", value.spoken, opening=opening)

    def confirm(self, field: str, *, true: bool) -> str:
        """Yes, or no with what is true instead."""
        line = self._repertoire.draw(self.voice.lines["yes" if true else "no"])
        text = fill_known(line, {"char": self.character.card.name})
        return self._finish(text if true and self.random.random() < 0.4 else f"{text} {self.core(field)}")

    def frame(self, pool: str, **slots: str) -> str:
        """A line of answers.yaml in the voice's manner of speaking, filled."""
        known = {slot.capitalize(): capitalize(text) for slot, text in slots.items()} | slots
        return _tidy(fill_known(self._pick(pool), {**known, "user": self.character.user.name}))

    def recite(self, *told: tuple[str, Mapping[str, str]], opening: str = "open") -> str:
        """One line of each block (of facts.yaml or cards.yaml) with its slots filled, composed."""
        quoted = max((text for _, slots in told for text in slots.values()), key=len, default="")
        return self.compose(
            lambda: " ".join(self._recital(lines, slots) for lines, slots in told), "", quoted, opening=opening
        )

    def compose(self, core: Callable[[], str], after: str, quoted: str, *, opening: str = "open") -> str:
        """An opening, the core, an afterthought or a closing: some of these, so that the voice is heard.

        None of them was said before, unless the voice would go unheard.
        """
        text = ""
        for _ in range(_TRIES):
            text = self._arrange(core(), after, opening)
            if self.voice.is_heard_in(text, quoted):
                return self._finish(text)
            self._repertoire.drop()
        if self._brief:
            return self._finish(min((core() for _ in range(6)), key=len))
        return self._finish(f"{core()} {self._repertoire.draw(self.voice.lines['close'])}")

    def _arrange(self, core: str, after: str, opening: str) -> str:
        shape = self.random.random()
        if self._brief and shape < 0.75:
            return core
        if not self._brief and shape > 0.86:
            return core
        opens = shape > 0.94 if self._brief else shape < 0.42
        closes = not opens or (not self._brief and shape > 0.28)
        before = self._tag(opening) if opens else []
        behind = (self._tag(after) or self._tag("close")) if closes else []
        return " ".join([*before, core, *behind])

    def _tag(self, pool: str) -> list[str]:
        """A line of the voice that wasn't said yet, if there is one."""
        lines = self.voice.lines.get(pool, ())
        return [self._repertoire.draw(lines)] if self._repertoire.has_unsaid(lines) else []

    def _say_value(self, kind: str, value: Value, extra: tuple[str, ...] = ()) -> str:
        """A line of answers.yaml of that kind, of the value's shape where there is one, with the value in it."""
        answers = load_grammar("answers")
        pool = next(key for key in (f"{kind}.{value.shape}", kind) if key in answers)
        slots = {"v": value.spoken, "V": capitalize(value.spoken), "g": value.spoken}
        return _tidy(fill_known(self._pick(pool, extra), slots))

    def _pick(self, pool: str, extra: tuple[str, ...] = ()) -> str:
        frames = load_grammar("answers")[pool]
        lines = split_lines(frames["terse" if self._brief else "plain"]) + extra
        return self.voice.say(self._repertoire.draw(lines), self.random)

    def _recital(self, lines: str, slots: Mapping[str, str]) -> str:
        options = split_lines(lines)
        if self._brief:
            options = tuple(sorted(options, key=len)[:3])
        return _tidy(fill_known(self.voice.say(self._repertoire.draw(options), self.random), slots))

    def _finish(self, text: str) -> str:
        """`text` as it is said, now and then with an *action* before it; one reply of four at most has one."""
        self._calm += 1
        if self.character.acts and self._calm > _CALM and self.random.random() < _ACTING:
            self._calm = 0
            gesture = self._repertoire.draw(split_lines(load_grammar("cards")["gesture"]))
            text = f"{self._imagination.text(gesture)} {text}"
        self._repertoire.keep()
        return text

    def _named(self) -> bool:
        return self.character.user.name != "User"


def themes() -> tuple[str, ...]:
    """What opinions are asked about."""
    return split_items(load_grammar("answers")["theme"]["words"])


def _tidy(text: str) -> str:
    """`text` with a capital first and no doubled stops."""
    return capitalize(fix_articles(re.sub(r"(?<!\.)\.\.(?!\.)", ".", re.sub(r"\.(?=[,:;])", "", text))))
