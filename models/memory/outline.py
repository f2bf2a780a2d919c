"""What is told of messages that have left the prompt when no model has summed them up: their most telling lines."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from models.memory.keywords import words_of
from models.memory.passages import Said, split

LINE_CHARACTERS = 120
# A line of so few words tells half as much a word as a long one: there is little in it.
SHORT_WORDS = 8
# Of the room, how much what was told before may keep: the latest of it.
BEFORE_SHARE = 0.5

CountTokens = Callable[[str], int]


def outline(before: str, said: Sequence[Said], count_tokens: CountTokens, most_tokens: int) -> str:
    """At most `most_tokens` of what was told `before` and of what was `said`, each a line, in their order."""
    old = [line for line in before.splitlines() if line.strip()]
    kept = _fit(reversed(old), count_tokens, int(most_tokens * BEFORE_SHARE))
    lines = [f"- {one.speaker}: {_clipped(pieces[0])}" for one in said if (pieces := split(one.text))]
    room = most_tokens - sum(map(count_tokens, kept))
    telling = _fit(_by_weight(lines), count_tokens, room)
    return "\n".join([*reversed(kept), *(line for line in dict.fromkeys(lines) if line in telling)])


def _by_weight(lines: Sequence[str]) -> list[str]:
    """The lines from the one on that says most that no other says; questions tell little, and come last."""
    words = [frozenset(words_of(line)) for line in lines]
    common = Counter(word for found in words for word in found)
    weights = {
        line: sum(1 / common[word] for word in found) / (len(found) + SHORT_WORDS)
        for line, found in zip(lines, words, strict=True)
    }
    return sorted(weights, key=lambda line: (line.endswith("?"), -weights[line]))


def _fit(lines: Iterable[str], count_tokens: CountTokens, most_tokens: int) -> list[str]:
    """The first lines that fit together, a token between them; one that is too long ends it."""
    fitting: list[str] = []
    for line in lines:
        most_tokens -= count_tokens(line) + 1
        if most_tokens < 0:
            break
        fitting.append(line)
    return fitting


def _clipped(text: str) -> str:
    return text if len(text) <= LINE_CHARACTERS else text[: LINE_CHARACTERS - 1].rstrip() + "…"
