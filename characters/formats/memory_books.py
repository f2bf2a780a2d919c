"""Lorebooks of Agnai, NovelAI and RisuAI, as V3's object. What has no place there stays in `extensions`, under the
program's name.

Names as in agnaistic/agnai (common/memory.ts), NovelAI's exports, kwaroran/RisuAI (src/ts/process/lorebook.svelte.ts).
"""

from collections.abc import Callable, Mapping

from characters.lore.coercion import Coercion, Json
from characters.lorebook import LorebookError

Fields = dict[str, Json]


def from_agnai(value: Fields, _: Coercion) -> Fields:
    """Agnai's memory book. Its keywords are whole words; its weight orders the prompt, its priority the budget."""
    names = {"keywords": "keys", "entry": "content", "weight": "insertion_order"}
    own = ("name", "enabled", "priority")

    def read(entry: Fields) -> Fields:
        fields = _rename(entry, names, own, "agnai")
        fields["extensions"]["match_whole_words"] = True
        return fields

    shared = ("name", "description")
    return {**_rename(value, {}, shared, "agnai", ("entries",)), "entries": _each(value.get("entries"), read)}


def from_novelai(value: Fields, coercion: Coercion) -> Fields:
    """NovelAI's lorebook. Its keys are whole words; an entry looks into other entries where it says so (cascading)."""
    names = {"text": "content", "displayName": "name", "forceActivation": "constant"}
    own = ("keys", "enabled", "id")
    categories = value.get("categories")
    off = {
        category.get("id")
        for category in (categories if isinstance(categories, list) else [])
        if isinstance(category, dict) and category.get("enabled") is False
    }

    def read(entry: Fields) -> Fields:
        fields = _rename(entry, names, own, "novelai")
        context = entry.get("contextConfig")
        rank = context.get("budgetPriority") if isinstance(context, dict) else None
        if rank is not None:
            fields |= {"insertion_order": rank, "priority": rank}
        fields["extensions"]["match_whole_words"] = True
        fields["extensions"]["exclude_recursion"] = entry.get("nonStoryActivatable") is not True
        if entry.get("category") and entry["category"] in off:
            coercion.warn("an entry was in a category that is switched off, and is disabled")
            fields["enabled"] = False
        return fields

    entries = _each(value.get("entries"), read)
    cascades = any(isinstance(one, dict) and one["extensions"]["exclude_recursion"] is False for one in entries)
    return {
        **_rename(value, {}, (), "novelai", ("entries",)),
        "recursive_scanning": cascades,
        "entries": entries,
    }


def from_risu(value: Fields, coercion: Coercion) -> Fields:
    """RisuAI's lorebook. Keys are one text with commas; a folder is an entry that says nothing."""
    names = {
        "content": "content",
        "alwaysActive": "constant",
        "insertorder": "insertion_order",
        "useRegex": "use_regex",
    }
    own = ("comment", "selective", "id")

    def read(entry: Fields) -> Fields:
        skipped = ("key", "secondkey", "extentions", "activationPercent")
        fields = _rename(entry, names, own, "risuai", skipped)
        extensions = entry.get("extentions")
        if isinstance(extensions, dict):
            fields["extensions"] |= extensions
            if isinstance(extensions.get("risu_case_sensitive"), bool):
                fields["case_sensitive"] = extensions["risu_case_sensitive"]
        fields["extensions"]["risu_activationPercent"] = entry.get("activationPercent")
        regex = entry.get("useRegex") is True
        fields["keys"] = _split(entry.get("key"), regex)
        fields["secondary_keys"] = _split(entry.get("secondkey"), regex)
        fields["name"] = entry.get("comment")
        if entry.get("mode") in ("folder", "child"):
            coercion.warn(f"a {entry['mode']} of RisuAI's was kept, and is disabled")
            fields["enabled"] = False
        return fields

    return {**_rename(value, {}, (), "risuai", ("data",)), "entries": _each(value.get("data"), read)}


def _each(entries: Json, read: Callable[[Fields], Fields]) -> list[Json]:
    """Every entry read; what is no object is left to the reader of V3, which tells of it. Raises LorebookError."""
    if isinstance(entries, dict):
        entries = list(entries.values())
    if not isinstance(entries, list):
        raise LorebookError("this says that it is a lorebook, but its entries are no list")
    return [read(entry) if isinstance(entry, dict) else entry for entry in entries]


def _rename(
    entry: Fields, names: Mapping[str, str], own: tuple[str, ...], program: str, skipped: tuple[str, ...] = ()
) -> Fields:
    """The fields that V3 has by another name, those it has by the same, and the rest in `extensions`."""
    fields = {names.get(key, key): item for key, item in entry.items() if key in names or key in own}
    rest = {key: item for key, item in entry.items() if key not in names and key not in own and key not in skipped}
    return {**fields, "extensions": {program: rest} if rest else {}}


def _split(keys: Json, regex: bool) -> Json:
    """The keys in a text with commas; a regular expression has commas of its own, and stands alone."""
    if not isinstance(keys, str):
        return keys if keys is not None else []
    return [keys] if regex and keys else [key.strip() for key in keys.split(",") if key.strip()]
