"""Lorebooks for tests: written as people's files are, read and run as the server does."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from characters.lore.activation import Activation, activate
from characters.lore.chat import Chat, Message, Role
from characters.lore.key import Key
from characters.lore.keyring import Keyring
from characters.lore.reason import Reason
from characters.lore.rule import Defaults, Rule
from characters.lore.rulebook import build_rulebook
from characters.lore.timing import LoreState
from characters.lorebook import Lorebook, parse_lorebook

Entry = Mapping[str, Any]

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
extras = st.dictionaries(st.text(max_size=8).map("x_".__add__), json_values, max_size=2)
texts = st.text(max_size=8)
numbers = st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6)
V3_ENTRY: dict[str, st.SearchStrategy[Any]] = {
    "keys": st.lists(texts, max_size=3),
    "content": texts,
    "extensions": extras,
    "enabled": st.booleans(),
    "insertion_order": numbers,
    "use_regex": st.booleans(),
}
V3_OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "case_sensitive": st.booleans(),
    "constant": st.booleans(),
    "name": texts,
    "priority": numbers,
    "id": st.integers() | texts,
    "comment": texts,
    "selective": st.booleans(),
    "secondary_keys": st.lists(texts, max_size=3),
    "position": st.sampled_from(["before_char", "after_char"]),
}
BOOK_OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "name": texts,
    "description": texts,
    "scan_depth": numbers,
    "token_budget": numbers,
    "recursive_scanning": st.booleans(),
}
v3_entries = st.builds(dict.__or__, extras, st.fixed_dictionaries(V3_ENTRY, optional=V3_OPTIONAL))
v3_books = st.builds(
    lambda extra, fields, entries: extra | fields | {"entries": entries},
    extras,
    st.fixed_dictionaries({"extensions": extras}, optional=BOOK_OPTIONAL),
    st.lists(v3_entries, max_size=4),
)


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


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def survives(was: Any, now: Any) -> bool:
    """Whether all that was said is still said; null says nothing, and what is new does no harm."""
    if isinstance(was, dict):
        return isinstance(now, dict) and all(
            item is None or (key in now and survives(item, now[key])) for key, item in was.items()
        )
    if isinstance(was, list):
        return isinstance(now, list) and len(was) == len(now) and all(map(survives, was, now))
    return type(was) is type(now) and bool(was == now)


def rules(book: Lorebook) -> list[Rule]:
    """What a book does: its rules but for what they are called."""

    def plain(key: Key) -> Key:
        return replace(key, text="", needle="" if key.size or key.broken else key.needle, pattern=None)

    def nameless(rule: Rule) -> Rule:
        ring = rule.keyring
        found = Keyring(
            tuple(map(plain, ring.keys)),
            tuple(map(plain, ring.secondary)),
            ring.logic,
            tuple(map(plain, ring.additional)),
            tuple(map(plain, ring.excluded)),
            tuple(map(plain, ring.excluded_together)),
        )
        return replace(rule, uid="", name="", keyring=found)

    return [nameless(rule) for rule in build_rulebook(book).rules]


def world(**fields: Any) -> dict[str, Any]:
    """A world info file of SillyTavern's with one entry."""
    return {"entries": {"0": {"uid": 0, "key": ["ash"], "content": "lore", **fields}}}
