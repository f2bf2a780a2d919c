"""Cards in PNG and APNG: text chunks `ccv3` (V3) and `chara` (V2), and the card's other files in chunks of their own.

`ccv3` wins, as V3 asks; among chunks of one keyword the first, as in SillyTavern. On writing the card gets both.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from characters.card import CardError
from characters.formats.assets import CHUNK, DEFAULT, ICON_PATH, PATH, Asset, embedded_path, is_safe_path, main_icon
from characters.formats.cardfile import CardFile, build_card_file
from characters.formats.chunks import Chunk, build_png, is_keyword, parse_chunks, text_chunk
from characters.formats.document import decode_base64, parse_json
from characters.formats.limits import MAX_CARD_CHUNK_BYTES, MAX_CARD_FILES_BYTES, MAX_FILE_BYTES
from characters.formats.picture import draw_default, to_png
from characters.lore.coercion import Coercion

# In the order in which they win.
CARD_KEYWORDS = ("ccv3", "chara_card_v3", "chara")
# RisuAI has written both.
FILE_KEYWORDS = ("chara-ext-asset_:", "chara-ext-asset_")
# Says that the picture was made for the export, and isn't the card's.
MADE = text_chunk("opencharacter", b"picture made for this file")


def read_png(blob: bytes) -> CardFile:
    """The card in a PNG, and its picture as the main icon. Pixels aren't looked at.

    Raises CardError: `no_card_in_png`, `encrypted_card`, `is_lorebook`, `bad_base64`, `unsafe_path`, `file_too_large`,
    and what `parse_chunks`, `parse_json` and `build_card_file` raise.
    """
    coercion = Coercion()
    chunks, left = parse_chunks(blob)
    if left:
        coercion.warn(f"{left:,} bytes after the picture's end were left out")
    value = parse_json(_unwrap(_find_card(chunks, coercion).text(MAX_CARD_CHUNK_BYTES), coercion), coercion)
    picture = None if MADE in chunks else build_png(chunk for chunk in chunks if not _is_ours(chunk))
    return build_card_file(value, coercion, _read_files(chunks), picture)


def write_png(card_file: CardFile) -> bytes:
    """The card on its main icon, or on a drawing, as V2 and as V3, with all its files."""
    picture, carried = _carrier(card_file)
    keys = _keys(path for path in card_file.files if path != carried)
    texts = [text_chunk("chara", _pack(card_file.to_json("v2"), keys, carried))]
    texts.append(text_chunk("ccv3", _pack(card_file.to_json("v3"), keys, carried)))
    for path, key in keys.items():
        texts.append(text_chunk(FILE_KEYWORDS[0] + key, base64.b64encode(card_file.files[path])))
    return build_png([*picture[:-1], *([] if carried else [MADE]), *texts, picture[-1]])


def _is_ours(chunk: Chunk) -> bool:
    keyword = chunk.keyword.lower()
    return keyword in CARD_KEYWORDS or keyword.startswith(FILE_KEYWORDS) or chunk == MADE


def _find_card(chunks: Sequence[Chunk], coercion: Coercion) -> Chunk:
    for keyword in CARD_KEYWORDS:
        found = [chunk for chunk in chunks if chunk.keyword.lower() == keyword]
        if any(chunk != found[0] for chunk in found):
            coercion.warn(f"there are several `{keyword}` chunks; the first was read")
        if found:
            return found[0]
    there = sorted({chunk.keyword for chunk in chunks if chunk.keyword})
    if "naidata" in there:
        raise CardError("this PNG holds a NovelAI lorebook; expected a character's card", "is_lorebook")
    said = ", ".join(repr(keyword[:40]) for keyword in there[:5]) or "none"
    told = f"this is a PNG without a character: expected a text chunk `chara` or `ccv3`, found {said}"
    raise CardError(told, "no_card_in_png")


def _unwrap(text: bytes, coercion: Coercion) -> bytes:
    """The JSON in a chunk's text: base64, or bare as some programs write it."""
    if text.lstrip().startswith(b"{"):
        coercion.warn("the card's JSON wasn't in base64")
        return text
    check_encrypted(text)
    raw = decode_base64(text)
    check_encrypted(raw)
    return raw


def check_encrypted(raw: bytes) -> None:
    """Raises CardError `encrypted_card` for what RisuAI encrypts."""
    if raw.lstrip()[:5] == b"rcc||":
        told = "the card is encrypted by RisuAI; expected one that was exported without encryption"
        raise CardError(told, "encrypted_card")


def _read_files(chunks: Sequence[Chunk]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    room = MAX_CARD_FILES_BYTES
    for chunk in chunks:
        prefix = next((prefix for prefix in FILE_KEYWORDS if chunk.keyword.startswith(prefix)), None)
        if prefix is None or (key := chunk.keyword.removeprefix(prefix)) in files:
            continue
        if not is_safe_path(key):
            raise CardError(f"the PNG holds a file at {key[:80]!r}, which leads out of its folder", "unsafe_path")
        files[key] = decode_base64(chunk.text(MAX_FILE_BYTES * 4 // 3 + 4096))
        room -= len(files[key])
        if room < 0:
            raise CardError(f"the card's files have more than {MAX_CARD_FILES_BYTES:,} bytes", "file_too_large")
    return files


def _carrier(card_file: CardFile) -> tuple[list[Chunk], str | None]:
    """The picture to write on, and the path of the file that it is; None when it was made for this."""
    path = card_file.avatar_path
    if path is not None:
        try:
            chunks, left = parse_chunks(card_file.files[path])
        except CardError:
            chunks, left = [], 0
        if chunks and not left and not any(map(_is_ours, chunks)):
            return chunks, path if path == ICON_PATH else None
        try:
            return parse_chunks(to_png(card_file.files[path]))[0], None
        except CardError:
            pass
    return parse_chunks(draw_default(card_file.card.data.name))[0], None


def _keys(paths: Iterator[str]) -> dict[str, str]:
    """The chunk's key for each file: its path, or a number where that is no keyword."""
    return {
        path: path if is_keyword(FILE_KEYWORDS[0] + path) else f"opencharacter-{place}"
        for place, path in enumerate(paths)
    }


def _pack(value: dict[str, Any], keys: Mapping[str, str], carried: str | None) -> bytes:
    assets: list[Asset] | None = value["data"].get("assets")
    if assets:
        icon = main_icon(assets)
        value["data"]["assets"] = [_address(asset, keys, carried if asset is icon else None) for asset in assets]
    return base64.b64encode(orjson.dumps(value))


def _address(asset: Asset, keys: Mapping[str, str], carried: str | None) -> Asset:
    path = embedded_path(asset)
    if path is None:
        return asset
    if path == carried:
        return {**asset, "uri": DEFAULT}
    if path not in keys:
        return asset
    return {**asset, "uri": CHUNK + keys[path], **({PATH: path} if keys[path] != path else {})}
