"""The fields of a card's `data` as the V3 specification types them, from what people's files hold.

What can be read as the right type is, with a warning; what can't is kept in our extension. Unknown fields stay.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from characters.card import CardData, CardError
from characters.formats.book import check_size, settle_book, tell_unknown
from characters.formats.document import Json
from characters.formats.extension import keep_unread
from characters.lore.coercion import Coercion

TEXTS = (
    "name",
    "description",
    "personality",
    "scenario",
    "first_mes",
    "mes_example",
    "creator_notes",
    "system_prompt",
    "post_history_instructions",
    "creator",
    "character_version",
)
# What a list's one text is split at, where it is split at all.
LISTS = MappingProxyType({"alternate_greetings": None, "group_only_greetings": None, "tags": ","})
MAX_NAME_CHARS = 200
ASSET = MappingProxyType({"type": "other", "uri": "", "name": "", "ext": "unknown"})
# Seconds later than this, in the year 5138, are milliseconds.
LAST_SECOND = 10**11


def settle_fields(data: dict[str, Json], coercion: Coercion) -> None:
    """Make every field of `data` valid, and the required ones be there. Its extensions are settled already.

    Raises CardError: `no_name`, `field_too_large`.
    """
    for field in TEXTS:
        data[field] = _text(data, field, coercion)
    for field, comma in LISTS.items():
        data[field] = _texts(data, field, comma, coercion)
    for field, settle in OPTIONAL.items():
        if field in data:
            _settle_optional(data, field, settle, coercion)
    _check(data)
    tell_unknown("the card", data.keys() - CardData.model_fields.keys(), coercion)


def _settle_optional(
    data: dict[str, Json], field: str, settle: Callable[[Json, Coercion], Json | None], coercion: Coercion
) -> None:
    value = data.pop(field)
    if value is None:
        coercion.warn(f"`{field}` was null, read as missing")
    elif (settled := settle(value, coercion)) is not None:
        data[field] = settled
    else:
        keep_unread(data, field, value, coercion)


def _check(data: Mapping[str, Json]) -> None:
    if not data["name"].strip():
        raise CardError("the card has no name; expected one", "no_name")
    if len(data["name"]) > MAX_NAME_CHARS:
        raise CardError(f"the name has {len(data['name']):,} characters; at most {MAX_NAME_CHARS}", "field_too_large")
    check_texts(data)


def check_texts(data: Mapping[str, Json]) -> None:
    """Raise CardError `field_too_large` for a text among these fields that is too long for any prompt."""
    for field in data.keys() & TEXTS:
        check_size(field, data[field])
    for field in data.keys() & LISTS.keys():
        for place, text in enumerate(data[field]):
            check_size(f"{field}[{place}]", text)
    entries = (data.get("character_book") or {}).get("entries")
    for place, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict) and isinstance(entry.get("content"), str):
            check_size(f"character_book.entries[{place}].content", entry["content"])


def _is_plain(value: Json) -> bool:
    return isinstance(value, str | bool | int | float) or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    )


def _text(data: dict[str, Json], field: str, coercion: Coercion) -> str:
    value = data.get(field, "")
    if value is not None and not _is_plain(value):
        keep_unread(data, field, value, coercion)
        return ""
    return coercion.text(value, "", f"`{field}`") or ""


def _texts(data: dict[str, Json], field: str, comma: str | None, coercion: Coercion) -> list[str]:
    value = data.get(field, [])
    if isinstance(value, list):
        texts, odd = _split(value, field, coercion)
        if odd:
            keep_unread(data, field, odd, coercion)
        return texts
    if isinstance(value, str):
        coercion.warn(f"`{field}` was one text where a list belongs")
        parts = [part.strip() for part in value.split(comma)] if comma else [value]
        return [part for part in parts if part.strip()]
    if value is None:
        coercion.warn(f"`{field}` was null, read as an empty list")
    else:
        keep_unread(data, field, value, coercion)
    return []


def _split(values: list[Json], field: str, coercion: Coercion) -> tuple[list[str], list[Json]]:
    """The texts among `values`, numbers written out, and the rest."""
    readable = [value for value in values if isinstance(value, str | int | float) and not isinstance(value, bool)]
    if not all(isinstance(value, str) for value in readable):
        coercion.warn(f"`{field}` held numbers, read as text")
    odd = [value for value in values if not isinstance(value, str | int | float) or isinstance(value, bool)]
    return [str(value) for value in readable], odd


def _nickname(value: Json, coercion: Coercion) -> str | None:
    return coercion.text(value, None, "`nickname`") if _is_plain(value) else None


def _source(value: Json, coercion: Coercion) -> list[str] | None:
    if isinstance(value, str):
        coercion.warn("`source` was one text where a list belongs")
        return [value]
    texts, odd = _split(value, "source", coercion) if isinstance(value, list) else ([], [value])
    return None if odd else texts


def _notes(value: Json, _: Coercion) -> dict[str, str] | None:
    sound = isinstance(value, dict) and all(isinstance(text, str) for text in value.values())
    return value if sound else None


def _date(value: Json, coercion: Coercion) -> int | str | None:
    """Unix seconds; a text that is no date stays as it is."""
    if isinstance(value, str):
        coercion.warn("a date was text where seconds since 1970 belong")
        return _parsed(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if abs(value) > LAST_SECOND * 1000:
        return None
    if abs(value) > LAST_SECOND:
        coercion.warn("a date was in milliseconds, read as seconds")
        return int(value) // 1000
    if not isinstance(value, int):
        coercion.warn("a date had a fraction of a second, which was cut off")
    return int(value)


def _parsed(text: str) -> int | str:
    try:
        moment = datetime.fromisoformat(text.strip())
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(LAST_SECOND)) else text


def _assets(value: Json, coercion: Coercion) -> list[Json] | None:
    if not isinstance(value, list) or not all(isinstance(asset, dict) for asset in value):
        return None
    return [_asset(asset, coercion, f"asset {place}") for place, asset in enumerate(value)]


def _asset(asset: dict[str, Json], coercion: Coercion, place: str) -> dict[str, Json]:
    settled = dict(asset)
    for field, default in ASSET.items():
        if field in asset:
            settled[field] = coercion.text(asset[field], default, f"`{field}`", place)
        else:
            coercion.warn(f"`{field}` was missing", place)
            settled[field] = default
    return settled


OPTIONAL: Mapping[str, Callable[[Json, Coercion], Json | None]] = MappingProxyType(
    {
        "nickname": _nickname,
        "source": _source,
        "creator_notes_multilingual": _notes,
        "creation_date": _date,
        "modification_date": _date,
        "assets": _assets,
        "character_book": settle_book,
    }
)
