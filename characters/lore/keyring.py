"""An entry's keys, compiled: which of them are regular expressions, and how all of them are compared."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from characters.lore.decorators import values
from characters.lore.key import Key, Room, build_key, escape
from characters.lore.options import Options
from characters.lorebook import LoreEntry

_MACRO = re.compile(r"\{\{.*?\}\}|<(?:user|bot|char)>", re.IGNORECASE)


class Logic(StrEnum):
    """How secondary keys narrow an entry down, once one of its keys was found."""

    AND_ANY = "and_any"
    NOT_ALL = "not_all"
    NOT_ANY = "not_any"
    AND_ALL = "and_all"


# By SillyTavern's `selectiveLogic`.
LOGICS = (Logic.AND_ANY, Logic.NOT_ALL, Logic.NOT_ANY, Logic.AND_ALL)


@dataclass(frozen=True, slots=True)
class Keyring:
    """All keys of an entry. Empty ones ask for nothing, but for `keys`: without one, nothing finds the entry."""

    keys: tuple[Key, ...] = ()
    secondary: tuple[Key, ...] = ()
    logic: Logic = Logic.AND_ANY
    # V3's decorators: one of `additional` must be found, too; none of `excluded`; not all of `excluded_together`.
    additional: tuple[Key, ...] = ()
    excluded: tuple[Key, ...] = ()
    excluded_together: tuple[Key, ...] = ()


def build_keyring(
    entry: LoreEntry,
    options: Options,
    *,
    case_sensitive: bool,
    whole_words: bool,
    expand: Callable[[str], str],
    room: Room,
) -> Keyring:
    """The keys of `entry`. `case_sensitive` and `whole_words` hold where it doesn't say. Keys beyond `room` are broken.

    With `use_regex`, V3 ignores secondary keys and `@@exclude_keys`, and takes `@@additional_keys` for further keys.
    """

    def read(texts: Iterable[str]) -> tuple[Key, ...]:
        stripped = (text.strip() for text in texts)
        return tuple(_read_key(text, options, modes, expand, room) for text in stripped if text)

    modes = _read_modes(entry, options, case_sensitive, whole_words)
    decorated = {name: read(values(options.decorators.get(name, ""))) for name in ("additional_keys", "exclude_keys")}
    if options.strict_regex:
        return Keyring(read(entry.keys) + decorated["additional_keys"])
    return Keyring(
        read(entry.keys),
        read(entry.secondary_keys or []) if entry.selective else (),
        _read_logic(options),
        decorated["additional_keys"],
        decorated["exclude_keys"],
        read(values(options.decorators.get("exclude_keys_all", ""))),
    )


@dataclass(frozen=True, slots=True)
class _Modes:
    regex: bool | None
    case_sensitive: bool
    whole_words: bool


def _read_modes(entry: LoreEntry, options: Options, case_sensitive: bool, whole_words: bool) -> _Modes:
    case = next((said for said in (options.flag("case_sensitive"), entry.case_sensitive) if said is not None), None)
    words = [options.flag("match_whole_words"), options.flag("whole_words_only")]
    if "match_full_word" in options.decorators:
        words = [True]
    elif "match_partial_word" in options.decorators:
        words = [False]
    whole = next((said for said in words if said is not None), whole_words)
    regex = True if options.strict_regex else None if entry.use_regex else entry.use_regex
    return _Modes(regex, case_sensitive if case is None else case, whole)


def _read_key(text: str, options: Options, modes: _Modes, expand: Callable[[str], str], room: Room) -> Key:
    if room.left <= 0:
        options.warn("has more keys than one book can have; they find nothing")
        return Key(text, text, broken="one too many")
    quote = modes.regex or (modes.regex is None and text.startswith("/"))

    def replace(match: re.Match[str]) -> str:
        """A macro's value; a name in a regular expression stands for itself."""
        said = expand(match[0])
        return escape(said) if quote and said != match[0] else said

    expanded = _MACRO.sub(replace, text) if "{{" in text or "<" in text else text
    key = build_key(expanded, regex=modes.regex, case_sensitive=modes.case_sensitive, whole_words=modes.whole_words)
    room.take(key)
    if key.broken:
        options.warn(f"the key {text[:60]!r} can't be searched for ({key.broken})")
    return key


def _read_logic(options: Options) -> Logic:
    """SillyTavern's number; a name where another program writes one."""
    said = options.value("key_logic")
    if isinstance(said, str) and said.lower() in set(LOGICS):
        return Logic(said.lower())
    number = options.number("selective_logic") or 0
    if number not in range(len(LOGICS)):
        options.warn(f"`selectiveLogic` {number} is unknown, and is read as 0")
        return Logic.AND_ANY
    return LOGICS[int(number)]
