"""How people type: one of many ways to ask, carelessly."""

from typing import Any

from models.synthesis.character import Character
from models.synthesis.grammar import choose_branches, fill_known, load_grammar
from models.synthesis.imagination import Imagination

_SALUTES = ["Good evening.", "Hello!", "Hi.", "Thank you.", "I see.", "Good morning!", "Oh, nice.", "Hello there."]


class Asker:
    """The one who talks with `character`."""

    def __init__(self, character: Character, imagination: Imagination) -> None:
        self._character = character
        self._random = imagination.random
        self._imagination = imagination

    def question(self, kind: str, *, plain: bool = False) -> str:
        """A question of a kind of questions.yaml; `plain` leaves it as it is written there."""
        lines: list[Any] = load_grammar("questions")[kind]
        line = choose_branches(self._random, str(self._random.choice(lines)))
        slots = {"char": self._character.card.name, "user": self._character.user.name}
        text = self._imagination.text(fill_known(line, slots))
        return text if plain else self.careless(text)

    def careless(self, text: str, *, keep: bool = False) -> str:
        """`text` as people type: with a preface, the name, small letters, no full stop, a typo."""
        random = self._random
        if random.random() < 0.06 and not text.startswith("*"):
            text = f"{random.choice(_SALUTES)} {text}"
        elif random.random() < 0.12 and not text.startswith("*"):
            preface = random.choice(
                [
                    "So, ",
                    "Tell me, ",
                    "Hey, ",
                    "Well, ",
                    "Please, ",
                    "And ",
                    "Now, ",
                    "By the way, ",
                    "Hm, ",
                    f"{self._character.card.name}, ",
                ]
            )
            text = preface + (text if keep or text.startswith(("I ", "I'")) else text[:1].lower() + text[1:])
        elif random.random() < 0.05 and text.endswith("?"):
            text = f"{text[:-1]}, {self._character.card.name.split()[0]}?"
        if not keep and random.random() < 0.15:
            text = text.lower()
        if random.random() < 0.15:
            text = text.rstrip(".?!")
        if not keep and random.random() < 0.05 and len(text) > 6:
            index = random.randrange(1, len(text) - 2)
            text = (
                text[:index]
                + random.choice(["", text[index + 1] + text[index], text[index] * 2])
                + text[index + (1 if random.random() < 0.5 else 2) :]
            )
        return text or "?"
