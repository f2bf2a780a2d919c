"""What a character answers: a frame filled from the card, put into the character's voice."""

import re
from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from models.synthesis.character import Character
from models.synthesis.grammar import capitalize, fill_known, fix_articles, load_grammar, split_items, split_lines
from models.synthesis.imagination import Imagination
from models.synthesis.names import NameForge
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
_TRIES = 8
# Lines said so recently aren't said again, where there are others.
_MEMORY = 16


class Speaker:
    """A character's mouth. Every reply it makes is in the character's voice."""

    def __init__(self, character: Character, random: Random) -> None:
        self.character = character
        self.random = random
        self.voice = load_voices()[character.voice]
        self._imagination = Imagination(random, NameForge(random))
        self._brief = character.voice == "terse"
        self._recent: deque[str] = deque(maxlen=_MEMORY)

    def own(self, pool: str) -> str:
        """One of the voice's own lines, now and then with a question back or with the user's name."""
        text = fill_known(self._fresh(self.voice.lines[pool]), {"char": self.character.card.name})
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
        extra = (
            ("I am {v} years old.", "I'm {v} years old.", "{v} years old.")
            if value.shape == "digits" and not self._brief
            else ()
        )
        return self._fill_value(self._pick(pool, extra), value)

    def again(self, field: str) -> str:
        """The answer once more."""
        value = self.character.values[field]
        return self.compose(lambda: self._fill_value(self._pick("again"), value), "", value.spoken)

    def confirm(self, field: str, *, true: bool) -> str:
        """Yes, or no with what is true instead."""
        text = fill_known(self._fresh(self.voice.lines["yes" if true else "no"]), {"char": self.character.card.name})
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
        return self.compose(
            lambda: _tidy(fill_known(self.voice.say(self.random.choice(options), self.random), slots)), "", quoted
        )

    def compose(self, core: Callable[[], str], after: str, quoted: str) -> str:
        """An opening, the core, an afterthought or a closing: some of these, so that the voice is heard."""
        text = ""
        for _ in range(_TRIES):
            text = self._arrange(core(), after)
            if self.voice.is_heard_in(text, quoted):
                return self._act(text)
        if self._brief:
            return min((core() for _ in range(6)), key=len)
        return self._act(f"{core()} {self._fresh(self.voice.lines[after or 'close'])}")

    def _fresh(self, lines: Sequence[str]) -> str:
        """One of `lines`, not one of the last few if that can be helped."""
        line = self.random.choice([line for line in lines if line not in self._recent] or lines)
        self._recent.append(line)
        return line

    def _arrange(self, core: str, after: str) -> str:
        shape = self.random.random()
        if self._brief and shape < 0.75:
            return core
        if not self._brief and shape > 0.86:
            return core
        opening = shape > 0.94 if self._brief else shape < 0.42
        closing = not opening or (not self._brief and shape > 0.28)
        before = [self._fresh(self.voice.lines["open"])] if opening else []
        behind = [self._fresh(self.voice.lines[after or "close"])] if closing else []
        return " ".join([*before, core, *behind])

    def _pick(self, pool: str, extra: tuple[str, ...] = ()) -> str:
        frames = load_grammar("answers")[pool]
        return self.voice.say(
            self._fresh(split_lines(frames["terse" if self._brief else "plain"]) + extra), self.random
        )

    def _fill_value(self, frame: str, value: Value) -> str:
        return _tidy(fill_known(frame, {"v": value.spoken, "V": capitalize(value.spoken), "g": value.spoken}))

    def _act(self, text: str) -> str:
        if self.character.acts and self.random.random() < 0.3:
            return f"{self._imagination.text(self._fresh(split_lines(load_grammar('cards')['gesture'])))} {text}"
        return text

    def _named(self) -> bool:
        return self.character.user.name != "User"


def themes() -> tuple[str, ...]:
    """What opinions are asked about."""
    return split_items(load_grammar("answers")["theme"]["words"])


def _tidy(text: str) -> str:
    """`text` with a capital first and no doubled stops."""
    return capitalize(fix_articles(re.sub(r"(?<!\.)\.\.(?!\.)", ".", re.sub(r"\.(?=[,:;])", "", text))))
