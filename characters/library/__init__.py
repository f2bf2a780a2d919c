"""The characters that ship: one Character Card V2 file each, beside this module, to be dropped into any front-end."""

from pathlib import Path

import orjson

from characters.card import CharacterCard, parse_card

FOLDER = Path(__file__).parent


def load_library() -> dict[str, CharacterCard]:
    """Slug to card for every JSON file in FOLDER, sorted by slug; a file's stem is its slug.

    Reads the files at each call. Raises what `parse_card` and JSON raise: a broken file is our bug.
    """
    paths = sorted(FOLDER.glob("*.json"), key=lambda path: path.stem)
    return {path.stem: parse_card(orjson.loads(path.read_bytes())) for path in paths}
