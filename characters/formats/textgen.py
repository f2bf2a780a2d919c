"""text-generation-webui's characters in YAML: `name`, `greeting`, `context`.

A card has more than that. The rest travels in the key `opencharacter`, as V3 JSON, which that program leaves alone.
Files don't travel in YAML.
"""

from characters.card import EXTENSION, CardError
from characters.formats.cardfile import CardFile, build_card_file
from characters.formats.document import Json, clean
from characters.formats.yamltext import dump_yaml, parse_yaml
from characters.lore.coercion import Coercion

# What `context` is made of, and what stands before each part.
PARTS = {"description": "", "personality": "Personality: ", "scenario": "Scenario: ", "mes_example": ""}
FIELDS = {"name": "name", "greeting": "first_mes"}


def read_yaml(raw: bytes) -> CardFile:
    """The card in a YAML text. Raises CardError: what `parse_yaml`, `clean` and `build_card_file` raise."""
    coercion = Coercion()
    # The card lies one level deeper than in JSON.
    value = clean(parse_yaml(raw), coercion, depth=-1)
    if not isinstance(value, dict):
        told = "this is text, but no card; expected a card in JSON, PNG, CHARX or YAML"
        raise CardError(told, "unknown_format")
    whole = value.pop(EXTENSION, None)
    if isinstance(whole, dict) and isinstance(whole.get("data"), dict):
        _take_changes(whole["data"], value, coercion)
        return build_card_file(whole, coercion)
    return build_card_file(value, coercion)


def write_yaml(card_file: CardFile) -> bytes:
    """The card as text-generation-webui shows it, and whole beside that."""
    value = card_file.to_json("v3")
    return dump_yaml({**_shown(value["data"]), EXTENSION: value})


def _shown(data: dict[str, Json]) -> dict[str, Json]:
    context = "\n".join(f"{before}{data[field]}" for field, before in PARTS.items() if data.get(field))
    return {"name": data.get("name"), "greeting": data.get("first_mes"), "context": context}


def _take_changes(data: dict[str, Json], told: dict[str, Json], coercion: Coercion) -> None:
    """Let what was changed by hand in the plain keys win over the whole card beside them; others are new fields."""
    shown = _shown(data)
    for key, value in told.items():
        if key not in shown:
            data.setdefault(key, value)
        elif value != shown[key]:
            coercion.warn(f"`{key}` was changed since the card was written here, and is read anew")
            data |= dict.fromkeys(PARTS, "") | {"description": value} if key == "context" else {FIELDS[key]: value}
