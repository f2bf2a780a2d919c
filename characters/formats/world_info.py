"""SillyTavern's world info, as V3's object and back.

Its options go to `extensions`, under the names that SillyTavern itself gives them when it exports a card
(src/endpoints/characters.js, convertWorldInfoToCharacterBook), where they differ from what a new entry has. What V3
has and SillyTavern hasn't travels in a field of ours, each value beside what SillyTavern was given for it: so a book
comes home whole, and what was edited there stays edited.
"""

import re
from collections import Counter
from itertools import count
from typing import Any

from characters.lore.coercion import Coercion, Json
from characters.lore.javascript import parse_slashed, to_slashed
from characters.lore.options import Options
from characters.lore.placement import NUMBERED
from characters.lorebook import DEFAULT_ORDER, Lorebook, LoreEntry

Fields = dict[str, Json]

# Ours, in an entry: by field and by extension, what was there and what SillyTavern was given.
KEPT = "opencharacter_kept"
# By SillyTavern's name: V3's field, and what a new entry has there.
FIELDS: dict[str, tuple[str, Any]] = {
    "key": ("keys", []),
    "keysecondary": ("secondary_keys", []),
    "comment": ("comment", ""),
    "content": ("content", ""),
    "constant": ("constant", False),
    "selective": ("selective", True),
    "order": ("insertion_order", DEFAULT_ORDER),
}
# By SillyTavern's name: the extension, and what a new entry has there.
OPTIONS: dict[str, tuple[str, Any]] = {
    "vectorized": ("vectorized", False),
    "selectiveLogic": ("selectiveLogic", 0),
    "addMemo": ("addMemo", True),
    "excludeRecursion": ("exclude_recursion", False),
    "preventRecursion": ("prevent_recursion", False),
    "delayUntilRecursion": ("delay_until_recursion", False),
    "probability": ("probability", 100),
    "useProbability": ("useProbability", True),
    "depth": ("depth", 4),
    "outletName": ("outlet_name", ""),
    "group": ("group", ""),
    "groupOverride": ("group_override", False),
    "groupWeight": ("group_weight", 100),
    "scanDepth": ("scan_depth", None),
    "caseSensitive": ("case_sensitive", None),
    "matchWholeWords": ("match_whole_words", None),
    "useGroupScoring": ("use_group_scoring", None),
    "automationId": ("automation_id", ""),
    "role": ("role", None),
    "sticky": ("sticky", None),
    "cooldown": ("cooldown", None),
    "delay": ("delay", None),
    "ignoreBudget": ("ignore_budget", False),
    "matchPersonaDescription": ("match_persona_description", False),
    "matchCharacterDescription": ("match_character_description", False),
    "matchCharacterPersonality": ("match_character_personality", False),
    "matchCharacterDepthPrompt": ("match_character_depth_prompt", False),
    "matchScenario": ("match_scenario", False),
    "matchCreatorNotes": ("match_creator_notes", False),
    "triggers": ("triggers", []),
    "characterFilter": ("character_filter", None),
}
PLACES = ("before_char", "after_char")
KNOWN = FIELDS.keys() | OPTIONS.keys() | {"uid", "disable", "position", "displayIndex", "extensions", KEPT}
# What other programs that write world info call V3's fields of the book.
BOOK_FIELDS = {"scanDepth": "scan_depth", "tokenBudget": "token_budget", "recursiveScanning": "recursive_scanning"}


def is_world_info(value: Fields) -> bool:
    """Whether this is SillyTavern's: entries in an object, or in a list with SillyTavern's names."""
    entries = value.get("entries")
    several = list(entries.values()) if isinstance(entries, dict) else entries if isinstance(entries, list) else []
    if isinstance(entries, dict) and not several:
        return True
    return any(isinstance(entry, dict) and "key" in entry and "keys" not in entry for entry in several)


def from_world_info(value: Fields, coercion: Coercion) -> Fields:
    """V3's object. Entries keep the file's order."""
    entries = value["entries"]
    named = entries.items() if isinstance(entries, dict) else ((str(place), one) for place, one in enumerate(entries))
    book = {ours: value[theirs] for theirs, ours in BOOK_FIELDS.items() if theirs in value}
    read = [
        _restore(_read_entry(entry, uid, place, coercion), entry.get(KEPT)) if isinstance(entry, dict) else entry
        for place, (uid, entry) in enumerate(named)
    ]
    return {**book, **value, "entries": read}


def to_world_info(book: Lorebook) -> Fields:
    """SillyTavern's file. The book's own fields stand beside its entries, where SillyTavern leaves them alone."""
    entries: Fields = {}
    for place, (uid, entry) in enumerate(zip(_uids(book.entries), book.entries, strict=True)):
        written = _write_entry(entry, uid, place)
        back = _read_entry(written, str(uid), place, Coercion())
        fields = _differences(entry.model_dump(exclude_unset=True, exclude={"extensions"}), back)
        extensions = _differences(entry.extensions, back["extensions"])
        kept = {"fields": fields, "extensions": extensions} if fields or extensions else None
        entries[str(uid)] = {**written, KEPT: kept} if kept else written
    return {**book.model_dump(exclude_unset=True), "entries": entries}


def _read_entry(entry: Fields, name: str, place: int, coercion: Coercion) -> Fields:
    """The entry as SillyTavern means it."""
    position = entry.get("position", 0)
    at = PLACES[position] if _same(position, 0) or _same(position, 1) else None
    fields = {key: item for key, item in entry.items() if key not in KNOWN}
    fields |= {ours: entry.get(theirs, default) for theirs, (ours, default) in FIELDS.items()}
    fields["id"] = entry.get("uid", int(name) if name.isdecimal() else name)
    fields["enabled"] = not coercion.flag(entry.get("disable", False), False, "`disable`", f"entry {place}")
    fields["position"] = at
    extensions = dict(entry["extensions"]) if isinstance(entry.get("extensions"), dict) else {}
    options = {
        **OPTIONS,
        "position": ("position", position if at else None),
        "displayIndex": ("display_index", place),
    }
    for theirs, (ours, default) in options.items():
        if theirs in entry and (ours in extensions or not _same(entry[theirs], default)):
            extensions[ours] = entry[theirs]
    return {**fields, "extensions": extensions}


def _restore(fields: Fields, kept: Json) -> Fields:
    """The entry with what V3 had, wherever SillyTavern still has what it was given for it."""
    if not isinstance(kept, dict):
        return fields
    extensions = fields["extensions"]
    for whole, part in ((fields, "fields"), (extensions, "extensions")):
        stored = kept.get(part)
        for name, pair in stored.items() if isinstance(stored, dict) else ():
            if isinstance(pair, list) and len(pair) == 2 and _same(whole.get(name), pair[1]):
                whole[name] = pair[0]
    return {**fields, "extensions": extensions}


def _write_entry(entry: LoreEntry, uid: int, place: int) -> Fields:
    """The entry for SillyTavern, so that it does there what it does here."""
    options = Options(entry, {}, Coercion(), "")
    strict = options.strict_regex
    case = options.value("case_sensitive") if options.value("case_sensitive") is not None else entry.case_sensitive
    secondary = [] if strict else entry.secondary_keys or []
    written = {theirs: options.value(ours) for theirs, (ours, _) in OPTIONS.items()}
    return {
        **(entry.model_extra or {}),
        "uid": uid,
        "key": [_write_key(key, entry, strict, bool(case)) for key in entry.keys],
        "keysecondary": [_write_key(key, entry, strict, bool(case)) for key in secondary],
        "comment": entry.comment or entry.name or "",
        "content": entry.content,
        "constant": bool(entry.constant) and not strict,
        "selective": bool(entry.selective) and not strict,
        "order": entry.insertion_order,
        "position": _number_place(options.number("position"), entry.position),
        "disable": not entry.enabled,
        **{theirs: OPTIONS[theirs][1] if item is None else item for theirs, item in written.items()},
        "caseSensitive": case,
        "displayIndex": place if options.value("display_index") is None else options.value("display_index"),
        "extensions": entry.extensions,
    }


def _number_place(number: float | None, position: str | None) -> int:
    if number is not None and number in range(len(NUMBERED)):
        return int(number)
    return PLACES.index(position or "after_char")


def _write_key(key: str, entry: LoreEntry, strict: bool, case_sensitive: bool) -> str:
    """The key as SillyTavern spells it: there, `/pattern/flags` is a regular expression and nothing else is."""
    slashed = parse_slashed(key.strip()) is not None
    if strict and not slashed:
        return to_slashed(key, ignore_case=not case_sensitive)
    if entry.use_regex is False and slashed:
        return to_slashed(re.escape(key), ignore_case=not case_sensitive)
    return key


def _differences(was: Fields, back: Fields) -> Fields:
    """What doesn't come back as it was; null and absence are the same."""
    said = {name: item for name, item in was.items() if item is not None}
    return {name: [item, back.get(name)] for name, item in said.items() if not _same(back.get(name), item)}


def _same(one: Json, other: Json) -> bool:
    """Whether two values are the same JSON: 0 isn't false."""
    return type(one) is type(other) and bool(one == other)


def _uids(entries: list[LoreEntry]) -> list[int]:
    """SillyTavern's numbers: the ids, where they are numbers of their own, else the next that are free."""
    often = Counter(entry.id for entry in entries)
    own = {entry.id for entry in entries if type(entry.id) is int and entry.id >= 0 and often[entry.id] == 1}
    free = (number for number in count() if number not in own)
    return [entry.id if type(entry.id) is int and entry.id in own else next(free) for entry in entries]
