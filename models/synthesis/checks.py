"""What is wrong with a row of data, as far as can be told by reading it: each check names its reason, or nothing."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from characters.card import CharacterCard
from characters.profile import LABELS, Profile

from models.synthesis.playing import read_card

# Somebody who says the own name this often, once in so many words, isn't talking but introducing.
MOST_NAMINGS, WORDS_A_NAMING = 3, 25
# A sentence of so many characters, said so often, is a loop.
LOOP_CHARACTERS, LOOP_TIMES = 12, 4
# Labels of the profile in one reply, from which on it is read out.
MOST_LABELS = 3

_MACHINE = (
    r"(?:an? )?(?:large |virtual )?"
    r"(?:AI|A\.I\.|artificial intelligence|language model|LLM|chat ?bot|virtual assistant|computer program)"
    r"(?: (?:language )?(?:model|assistant|system|program|chatbot))?"
)
_MAKERS = r"(?:OpenAI|Meta AI|Anthropic|Google|Alibaba|Mistral AI|DeepSeek)"
# Not “as an AI researcher”: a sign, a pronoun or a maker must follow.
_THEN = r"(?=\s*[,.;:!?—–]|\s+(?:I|trained|developed|created|made|built|designed|without|and|so|that)\b|\s*$)"
_BREAKS = re.compile(
    "|".join(
        (
            rf"\bas {_MACHINE}{_THEN}",
            rf"\bI(?:['’]m| am) (?:just |only |merely |actually |simply )?{_MACHINE}{_THEN}",
            r"\bI (?:can(?:no|['’])t|won['’]t|am unable to|am not able to) (?:fulfill?|comply with|assist with) "
            r"(?:that|this|your|the) request",
            rf"\b(?:trained|developed|created) by {_MAKERS}\b",
            r"\b(?:ChatGPT|GPT-\d|LLaMA-?\d|OpenAI)\b",
            r"\bmy (?:training data|knowledge cut-?off|system prompt)\b",
            r"\b(?:stay|remain|break|breaking) (?:in |out of )?character\b",
            r"\bcharacter(?:['’]s)? profile\b",
            r"\brole-?play(?:ing)? as\b",
        )
    ),
    re.IGNORECASE,
)
_MACHINE_IN_CARD = re.compile(
    r"\b(?:(?-i:AI)|artificial intelligence|android|robot|language model|chat ?bot|cyborg)\b", re.IGNORECASE
)
_MARKUP = re.compile(
    r"<\|[\w ]+\|>|</?s>|\[/?INST\]|<<?/?SYS>>?|</?(?:im_start|im_end|think|assistant|user|system)\b|"
    r"\{\{\s*(?:char|user)\s*\}\}|#{1,4} ?(?:Instruction|Response|Persona|Character Profile|Dialogue|Closing)\b|"
    r"[\"'](?:user|assistant)_\d+[\"']|^\s*(?:assistant|user|system)\s*(?::|\n)|\n(?:Human|User|Assistant):",
    re.IGNORECASE,
)
_LABEL = re.compile(rf"^\W*(?:{'|'.join(map(re.escape, LABELS.values()))})\W*:", re.MULTILINE)
_SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]?")


class BadRow(ValueError):
    """The row is neither a dialogue nor a profile; the message is the reason that is counted."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is looked at: who speaks, and what the character says; of a row that holds a profile, its lines."""

    card: CharacterCard
    messages: tuple[tuple[str, str], ...]
    replies: tuple[str, ...]

    @property
    def said(self) -> str:
        """Everything that the character says."""
        return "\n".join(self.replies)


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long a reply is, in characters, and all of them together."""

    shortest: int = 2
    longest: int = 8000
    longest_dialogue: int = 40_000


def read_subject(row: Mapping[str, Any]) -> Subject:
    """What a row is about. Raises BadRow."""
    try:
        card = read_card(row)
    except (KeyError, TypeError, ValueError):
        raise BadRow("missing_fields") from None
    if "messages" not in row:
        lines = Profile.model_validate(row["profile"]).lines() if "profile" in row else ""
        if not lines:
            raise BadRow("missing_fields")
        return Subject(card, (), (lines,))
    said = row["messages"]
    if not isinstance(said, list) or not all(_is_message(one) for one in said):
        raise BadRow("missing_fields")
    messages = tuple((one["role"], one["content"]) for one in said)
    replies = tuple(text for role, text in messages if role == "assistant")
    if not replies:
        raise BadRow("no_reply")
    return Subject(card, messages, replies)


def find_fault(subject: Subject, lengths: Lengths) -> tuple[str, str] | None:
    """The first reason to leave a row out, with what shows it; None for a row that can stay."""
    checks: Iterable[tuple[str, Callable[[], str]]] = (
        (
            "too_short",
            lambda: next((f"“{text}”" for text in subject.replies if len(text.strip()) < lengths.shortest), ""),
        ),
        ("too_long", lambda: _longest(subject, lengths)),
    )
    if subject.messages:
        checks = (
            *checks,
            ("breaks_character", lambda: find_break(subject)),
            ("leaked_markup", lambda: find_markup(subject)),
            ("repeats_name", lambda: find_namings(subject)),
            ("loops", lambda: find_loop(subject.replies)),
        )
    return next(((reason, shown) for reason, check in checks if (shown := check())), None)


def find_break(subject: Subject) -> str:
    """Where the character speaks as a machine or of its instructions, unless the card is of a machine."""
    card = subject.card
    told = " ".join((card.persona, card.profile.lines() if card.profile else "", card.data.description))
    if _MACHINE_IN_CARD.search(told):
        return ""
    return _around(_BREAKS.search(subject.said), subject.said)


def find_markup(subject: Subject) -> str:
    """Where markup of templates, cards or prompts stands in a reply, or the profile is read out in it."""
    for text in subject.replies:
        if found := _MARKUP.search(text):
            return _around(found, text)
        if len(labels := _LABEL.findall(text)) >= MOST_LABELS:
            return ", ".join(labels)
    return ""


def find_namings(subject: Subject) -> str:
    """How often the character says its own name, where that is too often."""
    names = {subject.card.name, *subject.card.name.split()[:1]}
    pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name)
    count = len(re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", subject.said))
    words = len(subject.said.split())
    return f"{count} times in {words} words" if count > max(MOST_NAMINGS, words / WORDS_A_NAMING) else ""


def find_loop(replies: Iterable[str]) -> str:
    """The sentence that a reply says over and over."""
    for text in replies:
        said: Counter[str] = Counter(
            one.strip() for one in _SENTENCE.findall(text) if len(one.strip()) >= LOOP_CHARACTERS
        )
        for sentence, count in said.most_common(1):
            if count >= LOOP_TIMES:
                return sentence
    return ""


def _longest(subject: Subject, lengths: Lengths) -> str:
    longest, whole = max(map(len, subject.replies)), sum(len(text) for _, text in subject.messages)
    if longest > lengths.longest or whole > lengths.longest_dialogue:
        return f"{longest} characters in a reply, {whole} in all"
    return ""


def _is_message(said: Any) -> bool:  # whatever a row holds
    return isinstance(said, dict) and isinstance(said.get("role"), str) and isinstance(said.get("content"), str)


def _around(found: re.Match[str] | None, text: str) -> str:
    return f"…{text[max(0, found.start() - 80) : found.end() + 80]}…" if found else ""
