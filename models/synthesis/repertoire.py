"""What somebody has said in a conversation, so that no line comes back while there is another one."""

from collections.abc import Sequence
from random import Random


class Repertoire:
    """Draws lines. A line that is drawn counts as said only once it is kept: a reply that was tried costs none."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._said: dict[str, int] = {}
        self._count = 0
        self._drawn: list[str] = []

    def has_unsaid(self, lines: Sequence[str]) -> bool:
        """Whether one of `lines` was never said."""
        return any(line not in self._said for line in lines)

    def draw(self, lines: Sequence[str]) -> str:
        """One of `lines` that was never said, or else one of the third that was said longest ago."""
        unsaid = [line for line in lines if line not in self._said and line not in self._drawn]
        by_age = sorted(lines, key=lambda line: self._said.get(line, self._count))
        line = self._random.choice(unsaid or by_age[: max(1, len(by_age) // 3)])
        self._drawn.append(line)
        return line

    def keep(self) -> None:
        """What was drawn is said."""
        for line in self._drawn:
            self._count += 1
            self._said[line] = self._count
        self._drawn.clear()

    def drop(self) -> None:
        """What was drawn stays unsaid."""
        self._drawn.clear()
