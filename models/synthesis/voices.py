"""How people talk: sixteen voices and a plain one. Each has lines of its own, a way of changing ours, and marks by
which a reply is known to be in that voice."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

from models.synthesis.grammar import load_grammar, split_lines

PLAIN = "plain"
_TERSE_WORDS = 9


@dataclass(frozen=True)
class Voice:
    """One way of talking."""

    name: str
    lines: dict[str, tuple[str, ...]]
    marks: re.Pattern[str] | None
    say: Callable[[str, Random], str]

    def line(self, random: Random, pool: str) -> str:
        """One of the voice's own lines."""
        return random.choice(self.lines[pool])

    def is_heard_in(self, reply: str, quoted: str = "") -> bool:
        """Whether `reply` sounds like this voice. `quoted` is what it copies from a card, which doesn't count."""
        spoken = re.sub(r"\*[^*]*\*", " ", reply.replace(quoted, " ") if quoted else reply)
        if self.name == "terse":
            return _is_terse(spoken)
        if self.name == "formal" and re.search(r"\b\w+(n't|'m|'ll|'ve|'re)\b", spoken):
            return False
        return self.marks is None or bool(self.marks.search(spoken))


@cache
def load_voices() -> dict[str, Voice]:
    """All voices by name, the plain one among them."""
    return {
        name: Voice(
            name=name,
            lines={pool: split_lines(text) for pool, text in entry.items() if pool not in ("marks", "say")},
            marks=re.compile(entry["marks"], re.IGNORECASE) if entry["marks"] else None,
            say=_SAYING.get(entry.get("say", ""), _as_it_is),
        )
        for name, entry in load_grammar("voices").items()
    }


def _is_terse(spoken: str) -> bool:
    words = [len(sentence.split()) for sentence in re.split(r"[.!?:]+", spoken) if sentence.strip()]
    return sum(words) <= 2 * _TERSE_WORDS and all(count <= _TERSE_WORDS for count in words)


def _rewriter(*rules: tuple[str, str]) -> Callable[[str, Random], str]:
    """A rewriting of a line by patterns, in order; what stands in braces is safe."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]

    def rewrite(text: str, _: Random) -> str:
        pieces = re.split(r"(\{\w+\})", text)
        for index in range(0, len(pieces), 2):
            for pattern, replacement in compiled:
                pieces[index] = pattern.sub(replacement, pieces[index])
        return "".join(pieces)

    return rewrite


def _as_it_is(text: str, _: Random) -> str:
    return text


def _halting(text: str, random: Random) -> str:
    """`text` with a pause or a stammer; what stands in braces is safe."""
    head, *tail = text.split(" ")
    if random.random() < 0.5 and head[:1].isalpha() and not head.startswith("{"):
        head = f"{head[0]}-{head}" if len(head) > 1 and random.random() < 0.6 else f"{head}... {head}"
    words = [head, *tail]
    places = [index for index, word in enumerate(words[:-1]) if word.isalpha() and len(word) > 1]
    if places and random.random() < 0.7:
        words[random.choice(places)] += random.choice(["...", "... um..."])
    text = " ".join(words)
    return text[:-1] + "..." if text.endswith(".") and not text.endswith("..") and random.random() < 0.7 else text


_SAYING: dict[str, Callable[[str, Random], str]] = {
    "contractions": _rewriter(
        (r"\b([Ii])sn't\b", r"\1s not"),
        (r"\bcan't\b", "cannot"),
        (r"\bwon't\b", "will not"),
        (r"n't\b", " not"),
        (r"\bI'm\b", "I am"),
        (r"\b([Ii])t's\b", r"\1t is"),
        (r"\b([Tt])hat's\b", r"\1hat is"),
        (r"'ve\b", " have"),
        (r"'ll\b", " will"),
        (r"'re\b", " are"),
        (r"\b([Ll])et's\b", r"\1et us"),
        (r"\bI'd\b", "I would"),
        (r"\b([Hh])ere's\b", r"\1ere is"),
        (r"\bkind of you\b", "most kind of you"),
    ),
    "sailor": _rewriter(
        (r"\byou\b", "ye"),
        (r"\bYou\b", "Ye"),
        (r"\byour\b", "yer"),
        (r"\bYour\b", "Yer"),
        (r"\bmy\b", "me"),
        (r"\bMy\b", "Me"),
        (r"\b(\w{2,})ing\b(?<!thing)(?<!bring)", r"\1in'"),
        (r"\band\b", "an'"),
    ),
    "archaic": _rewriter(
        (r"\b[Yy]ou are\b", "thou art"),
        (r"\b[Yy]ou're\b", "thou art"),
        (r"\bdo you\b", "dost thou"),
        (r"\bDo you\b", "Dost thou"),
        (r"\b[Yy]ou have\b", "thou hast"),
        (r"\b[Yy]ou haven't\b", "thou hast not"),
        (r"\b[Yy]ou know\b", "thou knowest"),
        (r"\b[Yy]ou want\b", "thou wishest"),
        (r"\b[Yy]ou may\b", "thou mayest"),
        (r"\b[Yy]ou would\b", "thou wouldst"),
        (r"\b[Yy]ou said\b", "thou saidst"),
        (r"\b[Yy]ou love\b", "thou lovest"),
        (r"\b[Yy]ou come\b", "thou comest"),
        (r"\b[Yy]ou told\b", "thou toldest"),
        (r"\b[Yy]ou see\b", "thou seest"),
        (r"\b[Yy]ou like\b", "thou likest"),
        (r"\bWould you\b", "Wouldst thou"),
        (r"\b[Yy]ou never\b", "thou never"),
        (r"\b[Yy]ou fear\b", "thou fearest"),
        (r"\byour\b", "thy"),
        (r"\bYour\b", "Thy"),
        (r"(?<=[.!?] )thou\b", "Thou"),
        (r"\byou\b", "thee"),
        (r"\bYou\b", "Thou"),
        (r"\b[Ii]t's\b", "'tis"),
        (r"\b[Ii]t is\b", "'tis"),
        (r"\bI'm\b", "I am"),
        (r"\bdon't\b", "do not"),
        (r"\boften\b", "oft"),
        (r"\bnothing\b", "naught"),
        (r"n't\b", " not"),
    ),
    "street": _rewriter(
        (r"\bam not\b", "ain't"),
        (r"\bisn't\b", "ain't"),
        (r"\bI am\b", "I'm"),
        (r"\bgoing to\b", "gonna"),
        (r"\bwant to\b", "wanna"),
        (r"\b[Bb]ecause\b", "'cause"),
        (r"\b(\w{2,})ing\b(?<!bring)", r"\1in'"),
        (r"\byou\b", "ya"),
        (r"\bdo not\b", "don't"),
        (r"\bthe neighbours\b", "everybody on the block"),
    ),
    "hesitant": _halting,
}
