"""Whatever people drop on us, told by its content and read: one card from a file, or the files of a ZIP of many."""

from collections.abc import Iterator

from characters.card import CardError
from characters.formats.archive import Archive
from characters.formats.cardfile import CardFile, build_card_file
from characters.formats.charx import CARD, JPEG, read_charx
from characters.formats.chunks import SIGNATURE
from characters.formats.document import parse_json
from characters.formats.png import check_encrypted, read_png
from characters.formats.textgen import read_yaml
from characters.lore.coercion import Coercion

ZIPS = (b"PK\3\4", b"PK\5\6")
# What people send instead of a card, by its first bytes.
OTHERS = {
    b"GIF8": "a GIF picture",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\0asm": "a program",
    b"\x7fELF": "a program",
    b"SQLite": "a database",
}
SNIFFED_BYTES = 1024
MARKUP = (b"<!doctype", b"<html", b"<svg", b"<?xml", b"<script")
# What systems put into a ZIP beside what people wanted in it.
LITTER = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")


def read_card(blob: bytes) -> CardFile:
    """The card in a file of any format: PNG, APNG, CHARX (also behind a JPEG), JSON, YAML.

    Raises CardError, whose message says what the file is and what was expected.
    """
    if not blob.strip():
        raise CardError("the file is empty; expected a card", "empty_file")
    if blob.startswith(SIGNATURE):
        return read_png(blob)
    if blob.startswith(ZIPS):
        return read_charx(blob)
    if blob.startswith(JPEG):
        return _read_jpeg(blob)
    _check_known(blob)
    check_encrypted(blob)
    if blob.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        coercion = Coercion()
        return build_card_file(parse_json(blob, coercion), coercion)
    return read_yaml(blob)


def unpack(blob: bytes, name: str, start: int = 0) -> Iterator[tuple[str, bytes | CardError]]:
    """The files in a ZIP of many from the `start`th on, each with its path, one by one; any other file as it is.

    A file that can't be unpacked comes as the error. Raises CardError when the ZIP as a whole can't be read.
    """
    archive = _open_many(blob)
    if archive is None:
        yield name, blob
        return
    for path in _list(archive)[start:]:
        try:
            yield path, archive.read(path)
        except CardError as error:
            yield path, error


def list_paths(blob: bytes) -> list[str] | None:
    """The paths that `unpack` comes to in a ZIP of many, None for any other file. Raises CardError as that does."""
    archive = _open_many(blob)
    return None if archive is None else _list(archive)


def _open_many(blob: bytes) -> Archive | None:
    archive = Archive(blob) if blob.startswith(ZIPS) else None
    return None if archive is None or CARD in archive.sizes else archive


def _list(archive: Archive) -> list[str]:
    paths = [path for path in archive.sizes if not _is_litter(path)]
    if not paths:
        raise CardError("the ZIP is empty; expected cards in it", "empty_file")
    return paths


def _read_jpeg(blob: bytes) -> CardFile:
    try:
        return read_charx(blob)
    except CardError as error:
        if error.code != "invalid_zip":
            raise
        told = "this is a JPEG picture; expected a card in PNG or JSON, or a JPEG with a CHARX behind it"
        raise CardError(told, "no_card_in_jpeg") from None


def _check_known(blob: bytes) -> None:
    kind = next((kind for magic, kind in OTHERS.items() if blob.startswith(magic)), None)
    if blob[:4] == b"RIFF":
        kind = "a WebP picture" if blob[8:12] == b"WEBP" else "a sound or a film"
    if blob[4:8] == b"ftyp":
        kind = "an AVIF picture or a film"
    if blob.lstrip(b"\xef\xbb\xbf \t\r\n")[:9].lower().startswith(MARKUP):
        kind = "a page in HTML or XML"
    if kind is None and b"\0" in blob[:SNIFFED_BYTES]:
        kind = "no text, and of no kind that is known"
    if kind is not None:
        raise CardError(f"this is {kind}; expected a card in JSON, PNG, CHARX or YAML", "unknown_format")


def _is_litter(path: str) -> bool:
    return path.startswith(LITTER[0]) or path.rpartition("/")[2] in LITTER
