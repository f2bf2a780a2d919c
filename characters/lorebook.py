"""Lorebook and its entries, as files hold them: Character Card V3's object, a superset of V2's `character_book`.

Nothing is lost: fields that no specification names are kept, `extensions` is never looked into, and only what has the
wrong type is changed, with a warning. What an entry does is in characters/lore/rule.py.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from characters.card import CardError
from characters.lore.coercion import Coercion, Json

# What an entry without an insertion order has: SillyTavern's and RisuAI's default.
DEFAULT_ORDER = 100


class LorebookError(CardError):
    """This is no lorebook; the message says what it is and what was expected, `code` names the fault."""

    def __init__(self, message: str, code: str = "invalid_lorebook") -> None:
        super().__init__(message, code)


class LoreEntry(BaseModel):
    """One piece of lore and when it is told. Unknown fields are kept. Immutable."""

    model_config = ConfigDict(extra="allow", frozen=True)

    keys: list[str] = []
    content: str = ""
    extensions: dict[str, Json] = {}
    enabled: bool = True
    insertion_order: int | float = DEFAULT_ORDER
    case_sensitive: bool | None = None
    use_regex: bool | None = None
    constant: bool | None = None
    name: str | None = None
    priority: int | float | None = None
    id: int | float | str | None = None
    comment: str | None = None
    selective: bool | None = None
    secondary_keys: list[str] | None = None
    position: Literal["before_char", "after_char"] | None = None


class Lorebook(BaseModel):
    """A book of lore. Unknown fields are kept. Immutable."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str | None = None
    description: str | None = None
    scan_depth: int | float | None = None
    token_budget: int | float | None = None
    recursive_scanning: bool | None = None
    extensions: dict[str, Json] = {}
    entries: list[LoreEntry] = []

    def to_v2(self) -> dict[str, Json]:
        """The `character_book` of a V2 card: what was set, and the fields that V2 requires."""
        book = self.model_dump(exclude_unset=True)
        entries = [_with_required(entry) for entry in self.entries]
        return {**book, "extensions": self.extensions, "entries": entries}

    def to_v3(self) -> dict[str, Json]:
        """The `character_book` of a V3 card, or the `data` of a standalone file: as V2, with `use_regex`."""
        book = self.to_v2()
        return {**book, "entries": [_with_use_regex(entry) for entry in book["entries"]]}


def parse_lorebook(value: Json) -> tuple[Lorebook, list[str]]:
    """The book from V2's or V3's object, and a warning for each kind of value that had to be changed.

    Raises LorebookError when `value` is no such object.
    """
    if not isinstance(value, dict):
        raise LorebookError(f"a lorebook is a JSON object with `entries`, not {type(value).__name__}")
    entries = value.get("entries", [])
    coercion = Coercion()
    if isinstance(entries, dict):
        coercion.warn("`entries` was an object where a list belongs")
        entries = list(entries.values())
    if not isinstance(entries, list):
        raise LorebookError(f"a lorebook's `entries` is a list, not {type(entries).__name__}")
    fields = _read_fields(value, BOOK_FIELDS, coercion)
    fields["entries"] = [
        _read_entry(entry, coercion, f"entry {place}")
        for place, entry in enumerate(entries)
        if _is_object(entry, coercion, f"entry {place}")
    ]
    return Lorebook.model_validate(fields), coercion.warnings


def _is_object(entry: Json, coercion: Coercion, place: str) -> bool:
    if not isinstance(entry, dict):
        coercion.warn("was no object, and was left out", place)
    return isinstance(entry, dict)


# How a field is read, and what it becomes where it can't be.
Reader = Callable[[Coercion, Json, Any, str, str], Json]
BOOK_FIELDS: Mapping[str, tuple[Reader, Any]] = {
    "name": (Coercion.text, None),
    "description": (Coercion.text, None),
    "scan_depth": (Coercion.number, None),
    "token_budget": (Coercion.number, None),
    "recursive_scanning": (Coercion.flag, None),
    "extensions": (Coercion.mapping, {}),
}
ENTRY_FIELDS: Mapping[str, tuple[Reader, Any]] = {
    "keys": (Coercion.texts, []),
    "secondary_keys": (Coercion.texts, None),
    "content": (Coercion.text, ""),
    "extensions": (Coercion.mapping, {}),
    "enabled": (Coercion.flag, True),
    "insertion_order": (Coercion.number, DEFAULT_ORDER),
    "priority": (Coercion.number, None),
    "name": (Coercion.text, None),
    "comment": (Coercion.text, None),
    "case_sensitive": (Coercion.flag, None),
    "use_regex": (Coercion.flag, None),
    "constant": (Coercion.flag, None),
    "selective": (Coercion.flag, None),
}


def _read_fields(
    value: dict[str, Json], readers: Mapping[str, tuple[Reader, Any]], coercion: Coercion, place: str = ""
) -> dict[str, Json]:
    what = "`{}`" if place else "the book's `{}`"
    fields = dict(value)
    for name, (read, default) in readers.items():
        if name in value:
            fields[name] = read(coercion, value[name], default, what.format(name), place)
    return fields


def _read_entry(value: dict[str, Json], coercion: Coercion, place: str) -> LoreEntry:
    fields = _read_fields(value, ENTRY_FIELDS, coercion, place)
    if "id" in fields and not isinstance(fields["id"], str):
        fields["id"] = coercion.number(fields["id"], None, "`id`", place)
    if "position" in fields:
        _place(fields, coercion, place)
    return LoreEntry.model_validate(fields)


def _place(fields: dict[str, Json], coercion: Coercion, place: str) -> None:
    """Keep `position` where V2 allows it; SillyTavern's numbers belong into `extensions`."""
    position = fields["position"]
    if position in ("before_char", "after_char", None):
        return
    fields["position"] = None
    if isinstance(position, int) and not isinstance(position, bool):
        coercion.warn("`position` was SillyTavern's number, moved to `extensions`", place)
        fields["extensions"] = {"position": position, **fields.get("extensions", {})}
    elif position != "":
        coercion.warn("`position` was neither before_char nor after_char, and was left out", place)


def _with_required(entry: LoreEntry) -> dict[str, Json]:
    required: dict[str, Json] = {
        "keys": entry.keys,
        "content": entry.content,
        "extensions": entry.extensions,
        "enabled": entry.enabled,
        "insertion_order": entry.insertion_order,
    }
    return required | entry.model_dump(exclude_unset=True)


def _with_use_regex(entry: dict[str, Json]) -> dict[str, Json]:
    """V3 asks for `use_regex`. Where it was never said, `/pattern/flags` keys are the only regular expressions.

    An entry with such keys is marked as SillyTavern's own are, whose `use_regex` means just that.
    """
    if entry.get("use_regex") is not None:
        return entry
    slashed = any(key.strip().startswith("/") for key in [*entry["keys"], *(entry.get("secondary_keys") or [])])
    if not slashed:
        return entry | {"use_regex": False}
    return entry | {"use_regex": True, "extensions": {"selectiveLogic": 0, **entry["extensions"]}}
