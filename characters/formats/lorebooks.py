"""Lorebooks that stand alone: V3's, SillyTavern's, Agnai's, NovelAI's and RisuAI's, told by their content.

All are read; V3's and SillyTavern's are written.
"""

from dataclasses import dataclass
from enum import StrEnum

from characters.formats.chunks import SIGNATURE, parse_chunks
from characters.formats.document import decode_base64, parse_json
from characters.formats.limits import MAX_CARD_BYTES, MAX_CARD_CHUNK_BYTES
from characters.formats.memory_books import from_agnai, from_novelai, from_risu
from characters.formats.world_info import from_world_info, is_world_info, to_world_info
from characters.lore.coercion import Coercion, Json
from characters.lorebook import Lorebook, LorebookError, parse_lorebook

# Where NovelAI keeps a lorebook in a PNG.
NOVELAI_CHUNK = "naidata"


class LorebookFormat(StrEnum):
    """What a lorebook was read from."""

    V3 = "lorebook_v3"
    CHARACTER_BOOK = "character_book"
    SILLYTAVERN = "sillytavern"
    AGNAI = "agnai"
    NOVELAI = "novelai"
    RISU = "risuai"


READERS = {
    LorebookFormat.SILLYTAVERN: from_world_info,
    LorebookFormat.AGNAI: from_agnai,
    LorebookFormat.NOVELAI: from_novelai,
    LorebookFormat.RISU: from_risu,
}


@dataclass(frozen=True, slots=True)
class LorebookFile:
    """A lorebook, what it was read from, and what had to be changed."""

    book: Lorebook
    format: LorebookFormat
    warnings: tuple[str, ...]


def read_lorebook(blob: bytes) -> LorebookFile:
    """The lorebook in a file: JSON, or NovelAI's PNG.

    Raises LorebookError when it is none, and what `parse_json` and `parse_chunks` raise.
    """
    coercion = Coercion()
    if blob.startswith(SIGNATURE):
        blob = _unwrap(blob)
    if len(blob) > MAX_CARD_BYTES:
        told = f"the lorebook has {len(blob):,} bytes; at most {MAX_CARD_BYTES:,} are read"
        raise LorebookError(told, "document_too_large")
    return build_lorebook_file(parse_json(blob, coercion), coercion)


def build_lorebook_file(value: Json, coercion: Coercion | None = None) -> LorebookFile:
    """The lorebook that this JSON is. `coercion` brings warnings that belong to it.

    Raises LorebookError, which says what the JSON is and what was expected.
    """
    coercion = coercion or Coercion()
    kind = _detect(value)
    if kind is LorebookFormat.V3:
        value = value.get("data")
    if kind in READERS:
        value = READERS[kind](value, coercion)
    book, warnings = parse_lorebook(value)
    return LorebookFile(book, kind, (*coercion.warnings, *warnings))


def write_v3(book: Lorebook) -> dict[str, Json]:
    """V3's standalone file."""
    return {"spec": "lorebook_v3", "data": book.to_v3()}


def write_sillytavern(book: Lorebook) -> dict[str, Json]:
    """SillyTavern's world info."""
    return to_world_info(book)


def _detect(value: Json) -> LorebookFormat:
    if not isinstance(value, dict):
        raise LorebookError(f"a lorebook is a JSON object, not {type(value).__name__}")
    if value.get("spec") == "lorebook_v3":
        return LorebookFormat.V3
    if value.get("spec") in ("chara_card_v2", "chara_card_v3"):
        raise LorebookError("this is a character's card; expected a lorebook alone")
    if value.get("type") == "risu":
        return LorebookFormat.RISU
    if value.get("kind") == "memory":
        return LorebookFormat.AGNAI
    if "lorebookVersion" in value:
        return LorebookFormat.NOVELAI
    if "entries" not in value:
        there = ", ".join(f"`{str(key)[:40]}`" for key in list(value)[:5]) or "nothing"
        raise LorebookError(f"this is no lorebook: expected `entries`, found {there}")
    return LorebookFormat.SILLYTAVERN if is_world_info(value) else LorebookFormat.CHARACTER_BOOK


def _unwrap(blob: bytes) -> bytes:
    """The JSON that NovelAI keeps in a PNG."""
    chunks, _ = parse_chunks(blob)
    found = next((chunk for chunk in chunks if chunk.keyword == NOVELAI_CHUNK), None)
    if found is None:
        raise LorebookError(f"this PNG holds no lorebook: expected a text chunk `{NOVELAI_CHUNK}`")
    return decode_base64(found.text(MAX_CARD_CHUNK_BYTES))
