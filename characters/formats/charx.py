"""CHARX: a ZIP with `card.json` (V3) at its root and the card's files beside it; RisuAI puts a JPEG in front."""

import io
import zipfile

import orjson

from characters.card import CardError
from characters.formats.archive import Archive
from characters.formats.cardfile import CardFile, build_card_file
from characters.formats.document import parse_json
from characters.formats.limits import MAX_CARD_FILES_BYTES
from characters.lore.coercion import Coercion

CARD = "card.json"
JPEG = b"\xff\xd8\xff"
# The same card always becomes the same file.
EPOCH = (1980, 1, 1, 0, 0, 0)


def read_charx(blob: bytes) -> CardFile:
    """The card in a CHARX, with every file in it.

    Raises CardError: `no_card_in_zip`, `file_too_large`, and what Archive, `parse_json` and `build_card_file` raise.
    """
    archive = Archive(blob)
    if CARD not in archive.sizes:
        raise CardError(f"this ZIP has no {CARD}; expected one at its root, as in a CHARX", "no_card_in_zip")
    if (total := sum(archive.sizes.values())) > MAX_CARD_FILES_BYTES:
        told = f"the card's files have {total:,} bytes; at most {MAX_CARD_FILES_BYTES:,} are read"
        raise CardError(told, "file_too_large")
    coercion = Coercion()
    value = parse_json(archive.read(CARD), coercion)
    files = {path: archive.read(path) for path in archive.sizes if path != CARD}
    front = blob[: archive.start]
    return build_card_file(value, coercion, files, front if front.startswith(JPEG) else None)


def write_charx(card_file: CardFile) -> bytes:
    """The card as V3 in a ZIP, with its files at their paths."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        card = orjson.dumps(card_file.to_json("v3"), option=orjson.OPT_INDENT_2)
        archive.writestr(zipfile.ZipInfo(CARD, EPOCH), card, zipfile.ZIP_DEFLATED)
        for path, blob in card_file.files.items():
            archive.writestr(zipfile.ZipInfo(path, EPOCH), blob, zipfile.ZIP_STORED)
    return out.getvalue()
