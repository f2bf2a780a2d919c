"""Our own corner of a card, `data.extensions.opencharacter`: profile, persona, and what has no place elsewhere.

`root` holds what stood beside `data` in the file, `unread` by field what could not be read: nothing is lost.
"""

from characters.card import EXTENSION
from characters.formats import profile as profiles
from characters.formats.document import Json
from characters.lore.coercion import Coercion

ROOT, UNREAD = "root", "unread"
RESERVED = {"spec", "spec_version", "data", "profile", "persona"}
MAX_PERSONA_CHARS = 4000


def settle_extensions(data: dict[str, Json], coercion: Coercion) -> None:
    """Make `data["extensions"]` an object, and our corner, where there is one, another."""
    value = data.get("extensions")
    if not isinstance(value, dict):
        data["extensions"] = {}
        if value not in (None, []):
            keep_unread(data, "extensions", value, coercion)
    if not isinstance(data["extensions"].get(EXTENSION, {}), dict):
        keep_unread(data, EXTENSION, data["extensions"].pop(EXTENSION), coercion)


def ours(data: dict[str, Json]) -> dict[str, Json]:
    """Our corner, made where it is missing. Settle the extensions before."""
    corner: dict[str, Json] = data["extensions"].setdefault(EXTENSION, {})
    return corner


def put(data: dict[str, Json], key: str, item: Json) -> None:
    """Put `item` into our corner, unless it says nothing or something is there already."""
    if item not in (None, ""):
        ours(data).setdefault(key, item)


def put_root(data: dict[str, Json], root: dict[str, Json]) -> None:
    """Keep what stood beside `data`."""
    if root:
        there = ours(data).get(ROOT)
        ours(data)[ROOT] = {**there, **root} if isinstance(there, dict) else root


def keep_unread(data: dict[str, Json], field: str, value: Json, coercion: Coercion) -> None:
    """Keep what `field` held where it does no harm."""
    coercion.warn(f"`{field}` can't be read; kept in extensions.{EXTENSION}.{UNREAD}")
    corner = ours(data)
    if not isinstance(corner.get(UNREAD, {}), dict):
        corner[UNREAD] = {UNREAD: corner[UNREAD]}
    corner.setdefault(UNREAD, {})[field] = value


def take_root(data: dict[str, Json]) -> dict[str, Json]:
    """What belongs beside `data`, taken out of it. `data` is changed, its values aren't."""
    corner = data["extensions"].get(EXTENSION)
    root = corner.get(ROOT) if isinstance(corner, dict) else None
    if not isinstance(root, dict) or not root or RESERVED & root.keys():
        return {}
    rest = {key: item for key, item in corner.items() if key != ROOT}
    data["extensions"] = {**data["extensions"], EXTENSION: rest}
    if not rest:
        del data["extensions"][EXTENSION]
    return root


def settle_profile(data: dict[str, Json], coercion: Coercion) -> None:
    """Make the profile a valid one or null, and keep what isn't, in it and in the persona, out of the way."""
    corner = data["extensions"].get(EXTENSION, {})
    profile, persona = corner.get("profile"), corner.get("persona")
    if profile is not None:
        settled, unread = profiles.settle(profile, coercion)
        corner["profile"] = settled
        for field, value in unread.items():
            keep_unread(data, field, value, coercion)
    if persona is not None and not (isinstance(persona, str) and len(persona) <= MAX_PERSONA_CHARS):
        keep_unread(data, "persona", corner.pop("persona"), coercion)
