"""Uploads as cards and lorebooks: what the worker reads, some files at a time, and leaves in a folder."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from characters.card import CardError, CharacterCard
from characters.formats.gallery import digest
from characters.formats.lorebooks import read_lorebook
from characters.formats.reading import read_card, unpack
from characters.lore.embedded import warn_of_book
from characters.lorebook import Lorebook

# What is read at once of a ZIP of many: the caller stores it, then asks for more.
MOST_FILES = 64
MOST_BYTES = 32 << 20
MOST_S = 5.0
# In JSON that orjson wrote, behind no backslash that is text itself.
NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


@dataclass(frozen=True, slots=True)
class Found:
    """What one file is: a card, a lorebook, or the fault for which it is neither.

    `path` is its place in the ZIP that held it; None when it came alone. `files` are the card's, by path: each lies in
    the folder under its digest.
    """

    path: str | None
    item: CharacterCard | Lorebook | CardError
    files: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    lore_warnings: tuple[str, ...] = ()


def read_upload(upload: Path, folder: Path, start: int) -> tuple[list[Found], int | None]:
    """What is in `upload`, from its `start`th file on; and where to go on, None at its end.

    Raises CardError when nothing of it can be read.
    """
    began = time.monotonic()
    room = MOST_BYTES
    founds: list[Found] = []
    for path, blob in unpack(upload.read_bytes(), "", start):
        if len(founds) == MOST_FILES or room < 0 or time.monotonic() - began > MOST_S:
            return founds, start + len(founds)
        founds.append(_read(path or None, blob, folder))
        room -= sum((folder / name).stat().st_size for name in founds[-1].files.values())
    return founds, None


def _read(path: str | None, blob: bytes | CardError, folder: Path) -> Found:
    if isinstance(blob, CardError):
        return Found(path, blob)
    try:
        card_file = read_card(blob)
    except CardError as error:
        return _read_lorebook(path, blob) if error.code == "is_lorebook" else Found(path, error)
    files = {there: digest(content) for there, content in card_file.files.items()}
    for there, name in files.items():
        (folder / name).write_bytes(card_file.files[there])
    card, more = _without_nul(card_file.card)
    return Found(path, card, files, (*card_file.warnings, *more), warn_of_book(card))


def _read_lorebook(path: str | None, blob: bytes) -> Found:
    try:
        found = read_lorebook(blob)
    except CardError as error:
        return Found(path, error)
    return Found(path, found.book, warnings=found.warnings)


def _without_nul(card: CharacterCard) -> tuple[CharacterCard, tuple[str, ...]]:
    """The card as the rest of the server expects it, which refuses NUL in requests, and a warning where it had any."""
    raw = orjson.dumps(card.model_dump(exclude_unset=True))
    if not NUL.search(raw):
        return card, ()
    replaced = CharacterCard.model_validate_json(NUL.sub(rb"\1\\ufffd", raw))
    return replaced, ("NUL characters (\\u0000) were replaced by U+FFFD",)
