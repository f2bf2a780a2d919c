"""Agnai's own JSON of a character, as the `data` of a V3 card; its persona's scheme goes to `extensions.agnai`.

Names as in agnaistic/agnai, web/pages/Character/port.ts.
"""

from characters.formats.document import Json

FIELDS = {
    "greeting": "first_mes",
    "sampleChat": "mes_example",
    "description": "creator_notes",
    "alternateGreetings": "alternate_greetings",
    "systemPrompt": "system_prompt",
    "postHistoryInstructions": "post_history_instructions",
    "characterVersion": "character_version",
    "characterBook": "character_book",
}


def is_agnai(value: dict[str, Json]) -> bool:
    """Whether this is Agnai's export of a character."""
    persona = value.get("persona")
    return isinstance(persona, dict) and isinstance(persona.get("attributes"), dict) and "greeting" in value


def from_agnai(value: dict[str, Json]) -> dict[str, Json]:
    """The `data` of the card. Its persona becomes the description: a text as it is, attributes a line each."""
    data = {FIELDS.get(key, key): item for key, item in value.items() if key not in ("persona", "kind")}
    persona = value["persona"]
    extensions = data.get("extensions")
    extensions = dict(extensions) if isinstance(extensions, dict) else {}
    there = extensions.get("agnai")
    extensions["agnai"] = {**(there if isinstance(there, dict) else {}), "persona": persona}
    return {**data, "description": _describe(persona), "extensions": extensions}


def _describe(persona: dict[str, Json]) -> str:
    attributes = {key: _words(item) for key, item in persona["attributes"].items()}
    if persona.get("kind") == "text":
        return "\n".join(attributes.values())
    return "\n".join(f"{key}: {words}" for key, words in attributes.items())


def _words(item: Json) -> str:
    return ", ".join(map(str, item)) if isinstance(item, list) else str(item)
