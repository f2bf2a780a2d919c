"""Characters as files to take home: what the worker writes into a folder."""

from collections.abc import Mapping
from pathlib import Path

from characters.card import CharacterCard
from characters.formats.cardfile import CardFile
from characters.formats.writing import Format, write_card


def write_export(card: CharacterCard, files: Mapping[str, str], folder: Path, format: Format) -> str:
    """Write the card as a file into `folder`, where its `files` (digests by path) lie; returns the new file's name."""
    contents = {path: (folder / name).read_bytes() for path, name in files.items()}
    name = "export"
    (folder / name).write_bytes(write_card(CardFile(card, contents), format))
    return name
