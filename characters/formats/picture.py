"""Pictures of characters: what they are, told by their content, within limits; and one for who has none.

Pixels are decoded only to see that an upload is whole, and to put a character's own picture, of whatever kind, into a
PNG.
"""

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from PIL import Image, ImageColor, ImageDraw, UnidentifiedImageError

from characters.card import CardError
from characters.formats.limits import MAX_PIXELS

KINDS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif"}
MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "image/webp",
    b"GIF8": "image/gif",
}
SIZE = (400, 600)
# The drawing is of cells, mirrored at the middle.
COLUMNS, ROWS = 5, 7
CELL = 60

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture is: the usual ending of its name, its media type, and its size in pixels."""

    suffix: str
    media_type: str
    width: int
    height: int


def measure(blob: bytes) -> Picture:
    """What `blob` is, from its first bytes; no pixel is decoded. PNG, JPEG, WebP and GIF are pictures.

    Raises CardError: `not_a_picture`, `picture_too_large`.
    """
    with _open(blob) as image:
        return Picture(KINDS[str(image.format)], Image.MIME[str(image.format)], image.width, image.height)


def check(blob: bytes) -> Picture:
    """What `measure` says of it, once its first frame has been decoded: a picture that was cut off is none.

    Raises CardError: `not_a_picture`, `picture_too_large`.
    """
    picture = measure(blob)
    with _open(blob) as image:
        _decode(image.load)
    return picture


def sniff(blob: bytes) -> str | None:
    """The media type that the first bytes promise; None for what is no picture."""
    if blob[:4] == b"RIFF" and blob[8:12] != b"WEBP":
        return None
    return next((media_type for magic, media_type in MAGIC.items() if blob.startswith(magic)), None)


def is_picture(blob: bytes) -> bool:
    """Whether `measure` takes it."""
    try:
        measure(blob)
    except CardError:
        return False
    return True


def to_png(blob: bytes) -> bytes:
    """The first frame of a picture as a PNG, without anything that isn't pixels.

    Raises CardError: `not_a_picture`, `picture_too_large`.
    """
    with _open(blob) as image:
        pixels = _decode(lambda: image.convert("RGBA" if image.has_transparency_data else "RGB"))
    return _encode(pixels)


def draw_default(name: str) -> bytes:
    """A PNG for a character without a picture: a pattern in two colours, always the same for the same name."""
    digest = hashlib.sha256(name.encode()).digest()
    image = Image.new("P", SIZE, 0)
    image.putpalette((*_colour(digest[0], "35%, 88%"), *_colour(digest[1], "45%, 42%")))
    draw = ImageDraw.Draw(image)
    left, top = (SIZE[0] - COLUMNS * CELL) // 2, (SIZE[1] - ROWS * CELL) // 2
    for row, column in product(range(ROWS), range(COLUMNS)):
        if digest[2 + row * 3 + min(column, COLUMNS - 1 - column)] & 1:
            x, y = left + column * CELL, top + row * CELL
            draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), 1)
    return _encode(image)


def _colour(hue: int, shade: str) -> tuple[int, ...]:
    """Red, green and blue; `hue` goes around at 256."""
    return ImageColor.getrgb(f"hsl({hue * 360 // 256}, {shade})")


def _open(blob: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(blob), formats=list(KINDS))
    except Image.DecompressionBombError as error:
        raise CardError(f"the picture is too large: {error}", "picture_too_large") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        expected = "PNG, JPEG, WebP or GIF"
        raise CardError(f"this isn't a picture; expected {expected}", "not_a_picture") from None
    if image.width * image.height > MAX_PIXELS:
        told = f"the picture has {image.width} × {image.height} pixels; at most {MAX_PIXELS:,} are read"
        raise CardError(told, "picture_too_large")
    return image


def _decode(decode: Callable[[], T]) -> T:
    try:
        return decode()
    except (OSError, SyntaxError, ValueError, IndexError, struct.error, zlib.error) as error:
        raise CardError(f"the picture is broken: {error}", "not_a_picture") from None


def _encode(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
