"""A card's `mes_example` as turns: blocks behind `<START>`, lines that begin with who speaks."""

import re
from dataclasses import dataclass

from characters.card import CharacterCard

from models.renderer import Role

_START = re.compile(r"^[ \t]*<START>[ \t]*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Line:
    """A message as text, with its role in the template's terms."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Example:
    """One block: what stands before its first speaker, and its turns."""

    scene: str
    lines: tuple[Line, ...]


def parse_examples(card: CharacterCard, user: str) -> list[Example]:
    """The card's examples, macros as they were written: what a macro says can't become a turn.

    A line without a speaker goes on with the turn before it. A block in which nobody speaks is all scene, so that no
    word of the card is lost.
    """
    speakers: dict[str, Role] = {user.lower(): "user", "{{user}}": "user", "<user>": "user"}
    speakers |= dict.fromkeys((card.data.name.lower(), card.name.lower(), "{{char}}", "<bot>", "<char>"), "assistant")
    names = "|".join(re.escape(name) for name in sorted(speakers, key=len, reverse=True))
    speaker = re.compile(rf"^[ \t]*({names})[ \t]*:[ \t]*", re.MULTILINE | re.IGNORECASE)
    examples = []
    for block in filter(str.strip, _START.split(card.data.mes_example)):
        scene, *said = speaker.split(block)
        lines = [
            Line(speakers[name.lower()], words.strip())
            for name, words in zip(said[::2], said[1::2], strict=True)
            if words.strip()
        ]
        examples.append(Example(scene.strip(), tuple(lines)))
    return examples
