"""The profile in a card's extension as `Profile` types it, from what people and other programs write there."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pydantic import ValidationError

from characters.formats.document import Json
from characters.lore.coercion import Coercion
from characters.profile import LABELS, MAX_LINE, MAX_NAME, MAX_NOTE, MAX_NOTES, Profile
from characters.temperament import POLES

# What is read of a value (None: nothing), and what isn't (None: nothing is left).
Halves = tuple[Json, Json]
INITIALS = MappingProxyType({trait[0]: trait for trait in POLES})


def settle(value: Json, coercion: Coercion) -> tuple[dict[str, Json] | None, dict[str, Json]]:
    """The valid profile in `value`, coerced with warnings (None: there is none), and by field what can't be read."""
    if is_profile(value):
        return value, {}
    if not isinstance(value, dict):
        return None, {"profile": value}
    settled: dict[str, Json] = {}
    unread: dict[str, Json] = {}
    for key, item in value.items():
        if item is None:
            continue
        what = f"profile.{key}"
        read, rest = FIELDS[key](item, what, coercion) if key in FIELDS else (None, item)
        if read is not None:
            settled[key] = read
        if rest is not None:
            unread[what] = rest
    return (settled or None), unread


def is_profile(value: Json) -> bool:
    try:
        Profile.model_validate(value)
    except ValidationError:
        return False
    return True


def _line(value: Json, what: str, coercion: Coercion) -> Halves:
    if isinstance(value, list) and all(map(_is_plain, value)):
        coercion.warn(f"`{what}` was a list, joined by commas")
        text = ", ".join(map(str, value))
    elif _is_plain(value):
        text = str(value)
    else:
        return None, value
    return (text, None) if len(text) <= MAX_LINE else (None, value)


def _notes(value: Json, what: str, coercion: Coercion) -> Halves:
    if _is_plain(value):
        coercion.warn(f"`{what}` was one text where a list belongs")
        value = [value]
    if not isinstance(value, list):
        return None, value
    if not all(isinstance(item, str) for item in value):
        coercion.warn(f"`{what}` held something other than text")
    sound = [str(item) for item in value if _is_note(item)]
    odd = [item for item in value if item is not None and not _is_note(item)]
    return (sound[:MAX_NOTES] or None), ([*odd, *sound[MAX_NOTES:]] or None)


def _relationships(value: Json, what: str, coercion: Coercion) -> Halves:
    """By name. Each may be an object of texts, such as relation and note, and all of them a list of such objects."""
    if isinstance(value, list) and all(isinstance(item, dict) and _is_plain(item.get("name")) for item in value):
        named = {str(item["name"]): {key: text for key, text in item.items() if key != "name"} for item in value}
        if len(named) < len(value):
            return None, value
        coercion.warn(f"`{what}` was a list, read as an object by name")
        value = named
    if not isinstance(value, dict):
        return None, value
    read = {name: _bond(bond) for name, bond in value.items() if len(name) <= MAX_NAME}
    sound = {name: bond for name, bond in read.items() if bond is not None}
    if any(isinstance(value[name], dict) for name in sound):
        coercion.warn(f"`{what}` held objects, their texts joined")
    kept = dict(list(sound.items())[:MAX_NOTES])
    return (kept or None), ({name: bond for name, bond in value.items() if name not in kept} or None)


def _bond(value: Json) -> str | None:
    if isinstance(value, dict) and value and all(map(_is_plain, value.values())):
        value = "; ".join(map(str, value.values()))
    return str(value) if _is_note(value) else None


def _big_five(value: Json, what: str, coercion: Coercion) -> Halves:
    """By trait, whatever its case, or by its initial; a fraction of a point is rounded."""
    if not isinstance(value, dict):
        return None, value
    settled: dict[str, int] = {}
    rest: dict[str, Json] = {}
    for key, item in value.items():
        trait = INITIALS.get(key.lower(), key.lower())
        score = _number(item, f"{what}.{trait}", 100, coercion) if trait in POLES else None
        if score is not None:
            settled[trait] = round(score)
        elif item is not None:
            rest[key] = item
    return (settled or None), (rest or None)


def _expressiveness(value: Json, what: str, coercion: Coercion) -> Halves:
    share = _number(value, what, 1, coercion)
    return (share, None) if share is not None else (None, value)


def _number(value: Json, what: str, most: int, coercion: Coercion) -> float | None:
    """The number from 0 to `most` that `value` is, or writes."""
    number = coercion.number(value, None, f"`{what}`") if _is_plain(value) else None
    return number if number is not None and 0 <= number <= most else None


def _is_plain(value: Json) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_note(value: Json) -> bool:
    return _is_plain(value) and len(str(value)) <= MAX_NOTE


FIELDS: Mapping[str, Callable[[Json, str, Coercion], Halves]] = MappingProxyType(
    {
        **dict.fromkeys(LABELS, _line),
        "big_five": _big_five,
        "habits": _notes,
        "relationships": _relationships,
        "quotes": _notes,
        "expressiveness": _expressiveness,
    }
)
