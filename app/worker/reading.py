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
from characters.formats.reading import list_paths, read_card, unpack
from characters.lore.embedded import warn_of_book
from characters.lorebook import Lorebook

# What is read at once of a ZIP of many: the caller stores it, then asks for more.
MOST_FILES = 64
MOST_BYTES = 32 << 20
# Of cards and lorebooks as JSON, which come back as objects: the event loop has some 10 ms of work with a megabyte.
MOST_JSON_BYTES = 2 << 20
MOST_S = 5.0
# In JSON that orjson wrote, behind no backslash that is text itself.
NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


@dataclass(frozen=True, slots=True)
class Found:
    """What one file is: a card, a lorebook, or the fault for which it is neither.

    `path` is its place in the ZIP that held it; None when it came alone. `files` are the card's, by path: each lies in
    the folder under its digest. `size` is the item's, in bytes of JSON.
    """

    path: str | None
    item: CharacterCard | Lorebook | CardError
    files: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    lore_warnings: tuple[str, ...] = ()
    size: int = 0


def read_upload(upload: Path, folder: Path, start: int, most_files: int = MOST_FILES) -> tuple[list[Found], int | None]:
    """What is in `upload`, from its `start`th file on, of `most_files` at most; and where to go on, None at its end.

    Raises CardError when nothing of it can be read.
    """
    began = time.monotonic()
    room, json_room = MOST_BYTES, MOST_JSON_BYTES
    founds: list[Found] = []
    for path, blob in unpack(upload.read_bytes(), "", start):
        full = len(founds) >= most_files or room < 0 or json_room < 0 or time.monotonic() - began > MOST_S
        # However slow the machine, each call gets on.
        if founds and full:
            return founds, start + len(founds)
        founds.append(_read(path or None, blob, folder))
        room -= sum((folder / name).stat().st_size for name in founds[-1].files.values())
        json_room -= founds[-1].size
    return founds, None


def find_file(upload: Path, place: int) -> tuple[str | None, int | None]:
    """The path of a ZIP's file, which isn't read, None for one that came alone; and the next one's place, if any."""
    paths = list_paths(upload.read_bytes())
    if paths is None:
        return None, None
    return paths[place], place + 1 if place + 1 < len(paths) else None


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
    card, size, more = _without_nul(card_file.card)
    return Found(path, card, files, (*card_file.warnings, *more), warn_of_book(card), size)


def _read_lorebook(path: str | None, blob: bytes) -> Found:
    try:
        found = read_lorebook(blob)
    except CardError as error:
        return Found(path, error)
    size = len(orjson.dumps(found.book.model_dump(exclude_unset=True)))
    return Found(path, found.book, warnings=found.warnings, size=size)


def _without_nul(card: CharacterCard) -> tuple[CharacterCard, int, tuple[str, ...]]:
    """The card as the rest of the server expects it, which refuses NUL in requests; its size; a warning of any NUL."""
    raw = orjson.dumps(card.model_dump(exclude_unset=True))
    if not NUL.search(raw):
        return card, len(raw), ()
    replaced = CharacterCard.model_validate_json(NUL.sub(rb"\1\\ufffd", raw))
    return replaced, len(raw), ("NUL characters (\\u0000) were replaced by U+FFFD",)
