"""What people call a card's fields: V1, V2, V3, Pygmalion, text-generation-webui and Agnai, as the `data` of a V3 card.

Knows names, not types: values are coerced in characters/formats/fields.py. What stood beside `data` in the file and
has no place in it is kept in `data.extensions.opencharacter.root`, and written beside `data` again.
"""

import re

from characters.card import CardData, CardError
from characters.formats.agnai import from_agnai, is_agnai
from characters.formats.document import Json
from characters.formats.extension import put, put_root, settle_extensions
from characters.lore.coercion import Coercion

FIELDS = frozenset(CardData.model_fields)
TEXTS = ("description", "personality", "scenario", "first_mes", "mes_example", "system_prompt", "alternate_greetings")

# Other names of fields, in the order in which they are looked for.
ALIASES = {
    "char_name": "name",
    "bot": "name",
    "<|bot|>": "name",
    "char_persona": "description",
    "context": "description",
    "char_greeting": "first_mes",
    "greeting": "first_mes",
    "example_dialogue": "mes_example",
    "world_scenario": "scenario",
    "creatorcomment": "creator_notes",
}
# What SillyTavern keeps beside V1's fields, and moves to `extensions` in V2.
TO_EXTENSIONS = ("talkativeness", "fav")
# What our own API shows beside a card.
SHOWN = frozenset({"id", "version", "warnings"})
OURS = ("profile", "persona")
SPECS = ("chara_card_v2", "chara_card_v3")


def to_data(value: Json, coercion: Coercion) -> dict[str, Json]:
    """The `data` object of a card in any dialect, its values as they came.

    Raises CardError: `not_a_card`, `is_lorebook`.
    """
    if not isinstance(value, dict):
        raise CardError(f"a {_kind(value)} was found where a card's object was expected", "not_a_card")
    if is_lorebook(value):
        raise CardError("this is a lorebook on its own; expected a character's card", "is_lorebook")
    if isinstance(value.get("data"), dict):
        return _from_spec(value, coercion)
    return _from_flat(value, coercion)


def is_lorebook(value: dict[str, Json]) -> bool:
    """Whether this is a book without a character: V3's, SillyTavern's, Agnai's, NovelAI's or RisuAI's."""
    if value.get("spec") == "lorebook_v3" or value.get("kind") == "memory" or "lorebookVersion" in value:
        return True
    if value.get("type") == "risu" and isinstance(value.get("data"), list):
        return True
    # A book may have a name and a description, too.
    return "entries" in value and not any(key in value for key in (*TEXTS[1:], *ALIASES, "data"))


def _from_spec(value: dict[str, Json], coercion: Coercion) -> dict[str, Json]:
    _check_spec(value, coercion)
    data = dict(value["data"])
    settle_extensions(data, coercion)
    root = {key: item for key, item in value.items() if key not in ("spec", "spec_version", "data")}
    if root.keys() >= SHOWN:
        root = {key: item for key, item in root.items() if key not in {*SHOWN, "reading"}}
    for key in OURS:
        put(data, key, root.pop(key, None))
    put_root(data, {key: item for key, item in root.items() if not _belongs_in(data, key, item, coercion)})
    return data


def _belongs_in(data: dict[str, Json], key: str, item: Json, coercion: Coercion) -> bool:
    """Whether what stood beside `data` is in it, too, or is now, because it was missing there."""
    field = ALIASES.get(key, key)
    if field not in FIELDS:
        return False
    if field not in data:
        coercion.warn(f"`{key}` stood beside `data`, and was moved into it")
        data[field] = item
    elif data[field] != item:
        coercion.warn(f"`{key}` beside `data` differs from the one in it, and isn't used")
    return bool(data[field] == item)


def _check_spec(value: dict[str, Json], coercion: Coercion) -> None:
    spec, version = value.get("spec"), value.get("spec_version")
    if spec not in SPECS:
        coercion.warn(f"`spec` is {str(spec)[:40]!r}; read as chara_card_v3")
    if not isinstance(version, str):
        coercion.warn(f"`spec_version` was {'missing' if version is None else 'no text'}")
    if re.fullmatch(r"\d+(\.\d+)?", str(version)) and float(str(version)) > 3:
        coercion.warn(f"`spec_version` is {str(version)[:20]}, newer than 3.0: what it has added is kept, and not used")


def _from_flat(value: dict[str, Json], coercion: Coercion) -> dict[str, Json]:
    data = from_agnai(value) if is_agnai(value) else dict(value)
    if data.pop("spec", None) is not None:
        coercion.warn("`data` was missing; the fields beside `spec` were read")
    data.pop("spec_version", None)
    for alias, field in ALIASES.items():
        if alias in data:
            _rename(data, alias, field, coercion)
    if "name" not in data or not any(field in data for field in TEXTS):
        found = ", ".join(sorted(value)[:8])[:200] or "nothing"
        told = f"expected a card with `data`, or with a name and a description or greeting; found {found}"
        raise CardError(told, "not_a_card")
    settle_extensions(data, coercion)
    for key in OURS:
        put(data, key, data.pop(key, None))
    for key in TO_EXTENSIONS:
        if key in data:
            data["extensions"].setdefault(key, data.pop(key))
    return data


def _rename(data: dict[str, Json], alias: str, field: str, coercion: Coercion) -> None:
    if data.get(field) in (None, "", data[alias]):
        data[field] = data.pop(alias)
    elif data[alias] in (None, ""):
        del data[alias]
    else:
        coercion.warn(f"`{alias}` differs from `{field}`; kept, and not used")


def _kind(value: Json) -> str:
    return {list: "list", str: "text", bool: "boolean", type(None): "null"}.get(type(value), "number")
