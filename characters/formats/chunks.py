"""PNG chunks (W3C PNG, third edition; APNG has the same), text chunks among them. Knows no cards and no pixels."""

import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from characters.card import CardError
from characters.formats.limits import MAX_PIXELS

SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT_KINDS = (b"tEXt", b"zTXt", b"iTXt")
MAX_KEYWORD_CHARS = 79
# Files' paths make longer ones than PNG allows.
MAX_FOUND_KEYWORD_BYTES = 512
# A frame of an APNG is one or a few.
MAX_CHUNKS = 50_000
KEYWORD = re.compile(r"[!-~\u00a1-\u00ff]( ?[!-~\u00a1-\u00ff])*")


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: its type of four letters, and its data."""

    kind: bytes
    data: bytes

    @property
    def keyword(self) -> str:
        """A text chunk's keyword; empty for any other chunk."""
        end = self.data.find(b"\0", 0, MAX_FOUND_KEYWORD_BYTES) if self.kind in TEXT_KINDS else 0
        return self.data[: max(end, 0)].decode("latin-1")

    def text(self, limit: int) -> bytes:
        """A text chunk's value, unpacked, at most `limit` bytes of it.

        Raises CardError: `chunk_too_large`, `bad_chunk`.
        """
        rest = self.data[len(self.keyword) + 1 :]
        packed = self.kind == b"zTXt"
        if self.kind == b"zTXt":
            rest = rest[1:]
        elif self.kind == b"iTXt":
            packed = rest[:1] == b"\1"
            rest = rest[2:].split(b"\0", 2)[-1]
        value = _inflate(rest, limit, self.keyword) if packed else rest
        if len(value) > limit:
            told = f"the text chunk {self.keyword!r} has more than {limit:,} bytes, which no card has"
            raise CardError(told, "chunk_too_large")
        return value


def text_chunk(keyword: str, value: bytes) -> Chunk:
    """A tEXt chunk. `keyword` has 1 to 79 Latin-1 characters, `value` no zero byte."""
    return Chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + value)


def is_keyword(text: str) -> bool:
    """Whether PNG allows `text` as a keyword: printable Latin-1, no space at its ends or beside another."""
    return len(text) <= MAX_KEYWORD_CHARS and KEYWORD.fullmatch(text) is not None


def parse_chunks(blob: bytes) -> tuple[list[Chunk], int]:
    """The chunks of a PNG from IHDR to IEND, and how many bytes follow them.

    Raises CardError: `not_a_png`, `truncated_png`, `bad_crc`, `bad_chunk`, `picture_too_large`.
    """
    if not blob.startswith(SIGNATURE):
        raise CardError("this isn't a PNG", "not_a_png")
    chunks: list[Chunk] = []
    at = len(SIGNATURE)
    while not chunks or chunks[-1].kind != b"IEND":
        chunk, at = _parse_chunk(blob, at)
        if not chunks:
            _check_header(chunk)
        if len(chunks) > MAX_CHUNKS:
            raise CardError(f"the PNG has more than {MAX_CHUNKS:,} chunks", "bad_chunk")
        chunks.append(chunk)
    return chunks, len(blob) - at


def _parse_chunk(blob: bytes, at: int) -> tuple[Chunk, int]:
    if at + 12 > len(blob):
        raise CardError("the PNG ends before its IEND chunk: it was cut off", "truncated_png")
    length, kind = struct.unpack_from(">I4s", blob, at)
    end = at + 8 + length
    if not kind.isalpha():
        raise CardError(f"the PNG has no chunk where one was expected, at byte {at}", "bad_chunk")
    if end + 4 > len(blob):
        told = f"the PNG's chunk {kind.decode()} says that it has {length:,} bytes; {len(blob) - at - 8:,} are left"
        raise CardError(told, "truncated_png")
    data = blob[at + 8 : end]
    if zlib.crc32(data, zlib.crc32(kind)) != struct.unpack_from(">I", blob, end)[0]:
        raise CardError(f"the PNG's chunk {kind.decode()} has a wrong checksum: it was damaged", "bad_crc")
    return Chunk(kind, data), end + 4


def build_png(chunks: Iterable[Chunk]) -> bytes:
    """The PNG of these chunks."""
    parts = [SIGNATURE]
    for chunk in chunks:
        crc = zlib.crc32(chunk.data, zlib.crc32(chunk.kind))
        parts += [struct.pack(">I4s", len(chunk.data), chunk.kind), chunk.data, struct.pack(">I", crc)]
    return b"".join(parts)


def _check_header(chunk: Chunk) -> None:
    if chunk.kind != b"IHDR" or len(chunk.data) != 13:
        raise CardError("the PNG doesn't begin with a header (IHDR)", "bad_chunk")
    width, height = struct.unpack_from(">II", chunk.data)
    if width * height > MAX_PIXELS:
        told = f"the PNG has {width} × {height} pixels; at most {MAX_PIXELS:,} are read"
        raise CardError(told, "picture_too_large")


def _inflate(packed: bytes, limit: int, keyword: str) -> bytes:
    inflater = zlib.decompressobj()
    try:
        value = inflater.decompress(packed, limit + 1)
    except zlib.error:
        raise CardError(f"the text chunk {keyword!r} can't be unpacked: it was damaged", "bad_chunk") from None
    if len(value) <= limit and not inflater.eof:
        raise CardError(f"the text chunk {keyword!r} was cut off", "bad_chunk")
    return value
