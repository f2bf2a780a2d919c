"""What a character answers: a frame filled from the card, put into the character's voice."""

import re
from random import Random

from models.synthesis.cast import Character
from models.synthesis.grammar import capitalize, fill_known, fix_articles, load_grammar, split_items, split_lines
from models.synthesis.names import NameForge
from models.synthesis.values import Imagination, Value
from models.synthesis.voices import load_voices

AFTERTHOUGHTS = {
    "birth_place": "place", "general_experience": "work", "appearance": "self", "personality": "self", "race": "self",
    "gender": "self", "likes": "like", "fears": "fear", "friend": "friend", "secret": "secret", "goal": "goal", "age": "age",
}  # fmt: skip
_TRIES = 8


class Speaker:
    """A character's mouth. Every reply it makes is in the character's voice."""

    def __init__(self, character: Character, random: Random) -> None:
        self.character = character
        self.random = random
        self.voice = load_voices()[character.voice]
        self._imagination = Imagination(random, NameForge(random))
        self._brief = character.voice == "terse"

    def own(self, pool: str) -> str:
        """One of the voice's own lines, now and then with a question back or with the user's name."""
        text = fill_known(self.voice.line(self.random, pool), {"char": self.character.card.name})
        if self._named() and pool in ("greet", "bye", "thanks", "praise", "fine", "sad") and self.random.random() < 0.2:
            text = re.sub(r"(?<=\w)([.!?])", rf", {self.character.user.name}\1", text, count=1)
        if pool in ("greet", "praise", "insult") and self.random.random() < 0.12 and not self._brief:
            text = f"{text} {capitalize(self.frame('nod'))}"
        return self._act(text)

    def ours(self, pool: str, after: str = "", **slots: str) -> str:
        """A line of answers.yaml, composed."""
        return self.compose(lambda: self.frame(pool, **slots), after, max(slots.values(), key=len, default=""))

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

    def core(self, field: str) -> str:
        """The bare answer, without opening or afterthought."""
        value = self.character.values[field]
        answers = load_grammar("answers")
        pool = next(key for key in (f"{field}.{value.shape}", field) if key in answers)
        extra = ("I am {v} years old.", "I'm {v} years old.", "{v} years old.") if value.shape == "digits" and not self._brief else ()
        return self._fill_value(self._pick(pool, extra), value)

    def again(self, field: str) -> str:
        """The answer once more."""
        value = self.character.values[field]
        return self.compose(lambda: self._fill_value(self._pick("again"), value), "", value.spoken)

    def confirm(self, field: str, *, true: bool) -> str:
        """Yes, or no with what is true instead."""
        text = fill_known(self.voice.line(self.random, "yes" if true else "no"), {"char": self.character.card.name})
        return self._act(text if true and self.random.random() < 0.4 else f"{text} {self.core(field)}")

    def frame(self, pool: str, **slots: str) -> str:
        """A line of answers.yaml in the voice's manner of speaking, filled."""
        return _tidy(fill_known(self._pick(pool), {**slots, "user": self.character.user.name}))

    def recite(self, lines: str, **slots: str) -> str:
        """One of `lines` (of facts.yaml or cards.yaml), composed."""
        options = split_lines(lines)
        if self._brief:
            options = tuple(sorted(options, key=len)[:3])
        quoted = max(slots.values(), key=len, default="")
        return self.compose(lambda: _tidy(fill_known(self.voice.say(self.random.choice(options), self.random), slots)), "", quoted)

    def compose(self, core: object, after: str, quoted: str) -> str:
        """An opening, the core, an afterthought or a closing: some of these, so that the voice is heard."""
        assert callable(core)
        text = ""
        for _ in range(_TRIES):
            text = self._arrange(core(), after)
            if self.voice.is_heard_in(text, quoted):
                return self._act(text)
        if self._brief:
            return str(min((core() for _ in range(6)), key=len))
        return self._act(f"{core()} {self.voice.line(self.random, after or 'close')}")

    def _arrange(self, core: str, after: str) -> str:
        shape = self.random.random()
        opening = self.voice.line(self.random, "open")
        closing = self.voice.line(self.random, after or "close")
        if self._brief:
            return core if shape < 0.75 else f"{core} {closing}" if shape < 0.94 else f"{opening} {core}"
        if shape < 0.28:
            return f"{opening} {core}"
        if shape < 0.72:
            return f"{core} {closing}"
        if shape < 0.86:
            return f"{opening} {core} {closing}"
        return core

    def _pick(self, pool: str, extra: tuple[str, ...] = ()) -> str:
        frames = load_grammar("answers")[pool]
        return self.voice.say(self.random.choice(split_lines(frames["terse" if self._brief else "plain"]) + extra), self.random)

    def _fill_value(self, frame: str, value: Value) -> str:
        return _tidy(fill_known(frame, {"v": value.spoken, "V": capitalize(value.spoken), "g": value.spoken}))

    def _act(self, text: str) -> str:
        if self.character.acts and self.random.random() < 0.3:
            actions = [line for line in split_lines(load_grammar("cards")["action"]) if line.startswith("*") and line.islower()]
            return f"{self._imagination.text(self.random.choice(actions or ['*nods*']))} {text}"
        return text

    def _named(self) -> bool:
        return self.character.user.name != "User"


def themes() -> tuple[str, ...]:
    """What opinions are asked about."""
    return split_items(load_grammar("answers")["theme"]["words"])


def _tidy(text: str) -> str:
    """`text` with a capital first and no doubled stops."""
    return capitalize(fix_articles(re.sub(r"(?<!\.)\.\.(?!\.)", ".", re.sub(r"\.(?=[,:;])", "", text))))
