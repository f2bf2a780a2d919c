"""Lorebooks for tests: written as people's files are, read and run as the server does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from characters.lore.activation import Activation, activate
from characters.lore.chat import Chat, Message, Role
from characters.lore.reason import Reason
from characters.lore.rule import Defaults
from characters.lore.rulebook import build_rulebook
from characters.lore.timing import LoreState
from characters.lorebook import parse_lorebook

Entry = Mapping[str, Any]


def words(text: str) -> int:
    """A token counter: the words of a text."""
    return len(text.split())


def entry(*keys: str, content: str = "", **fields: Any) -> Entry:
    """An entry with these keys, whose content is its first key unless it says otherwise."""
    return {"keys": list(keys), "content": content or f"lore of {keys[0] if keys else 'all'}", **fields}


def chat(*said: str, **known: Any) -> Chat:
    """A chat in which user and assistant take turns, the user last."""
    roles: list[Role] = ["user" if place % 2 == 0 else "assistant" for place in range(len(said))]
    return Chat([Message(role, text) for role, text in zip(reversed(roles), said, strict=True)], **known)


def run(
    entries: Sequence[Entry],
    at: Chat | str,
    *,
    seed: str = "seed",
    state: LoreState = LoreState(),
    defaults: Defaults = Defaults(),
    expand: Callable[[str], str] = str,
    **book: Any,
) -> Activation:
    """The lore of a turn in which a book with these entries, and these fields, is open."""
    parsed, _ = parse_lorebook({"entries": list(entries), **book})
    rules = build_rulebook(parsed, "book", defaults, expand)
    where = chat(at) if isinstance(at, str) else at
    return activate([rules], where, seed=seed, count_tokens=words, state=state, defaults=defaults, expand=expand)


def names(activation: Activation) -> list[str]:
    """The names of what fired, in the order of the prompt."""
    return [fired.rule.name for fired in activation.fired]


def reasons(activation: Activation) -> dict[str, Reason]:
    """Why the others didn't, by name."""
    return {one.rule.name: one.reason for one in activation.not_fired}


def fires(made: Entry, at: Chat | str, **how: Any) -> bool:
    """Whether the one entry of a book fires."""
    return bool(run([made], at, **how).fired)


def warnings(*entries: Entry, **book: Any) -> tuple[str, ...]:
    """What is said of a book when its rules are built."""
    return build_rulebook(parse_lorebook({"entries": list(entries), **book})[0]).warnings
