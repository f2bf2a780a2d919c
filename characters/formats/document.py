"""JSON text as values, strictly: UTF-8, no key twice, no number that JSON can't hold, within limits."""

import base64
import binascii
import json
import math
from collections import Counter
from typing import Any

from characters.card import CardError
from characters.formats.limits import MAX_DEPTH, MAX_DOCUMENT_BYTES, MAX_SEPARATORS
from characters.lore.coercion import Coercion

# Untrusted: whatever a file holds.
Json = Any

INT64_MIN, UINT64_MAX = -(1 << 63), (1 << 64) - 1


def decode_text(raw: bytes) -> str:
    """`raw` as text. Raises CardError `not_utf8`."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        told = f"byte {error.start} (0x{raw[error.start]:02x}) isn't UTF-8; expected text in UTF-8, as cards are"
        raise CardError(told, "not_utf8") from None


def decode_base64(text: bytes) -> bytes:
    """The bytes that `text` stands for; white space, missing padding and the URL alphabet are accepted.

    Raises CardError `bad_base64`.
    """
    compact = b"".join(text.split()).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    try:
        return base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except binascii.Error as error:
        raise CardError(f"this isn't base64: {error}", "bad_base64") from None


def parse_json(raw: bytes, coercion: Coercion) -> Json:
    """The value of a JSON text, fit to be written as JSON again.

    Raises CardError: `not_utf8`, `invalid_json`, `duplicate_key`, `invalid_number`, `too_deep`, `document_too_large`.
    """
    if len(raw) > MAX_DOCUMENT_BYTES:
        told = f"the JSON has {len(raw):,} bytes; at most {MAX_DOCUMENT_BYTES:,} are read"
        raise CardError(told, "document_too_large")
    if sum(map(raw.count, (b",", b"{", b"["))) > MAX_SEPARATORS:
        raise CardError(f"the JSON has more than {MAX_SEPARATORS:,} values", "document_too_large")
    try:
        value = json.loads(decode_text(raw), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except CardError:
        raise
    except RecursionError:
        raise too_deep() from None
    except ValueError as error:
        raise CardError(f"this isn't valid JSON: {error}", "invalid_json") from None
    return clean(value, coercion)


def clean(value: Json, coercion: Coercion, depth: int = 0) -> Json:
    """`value` without what UTF-8 and 64 bits can't hold: half characters and too long integers, each with a warning.

    Raises CardError `too_deep` and `invalid_number`.
    """
    if depth > MAX_DEPTH:
        raise too_deep()
    if isinstance(value, dict):
        return {_text(key, coercion): clean(item, coercion, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item, coercion, depth + 1) for item in value]
    if isinstance(value, str):
        return _text(value, coercion)
    if isinstance(value, int) and not INT64_MIN <= value <= UINT64_MAX:
        coercion.warn("an integer has more than 64 bits, read as a floating-point number")
        value = _float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise CardError("a number is larger than JSON's readers can hold (1.8e308)", "invalid_number")
    return value


def _text(text: str, coercion: Coercion) -> str:
    """`text` with halves of surrogate pairs, which a cut in the wrong place leaves, replaced by U+FFFD."""
    if text.isascii():
        return text
    sound = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if sound != text:
        coercion.warn("half a character (a lone surrogate) was replaced by U+FFFD")
    return sound


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise duplicate_key(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return made


def duplicate_key(key: str) -> CardError:
    """What is said of an object that has `key` twice."""
    return CardError(f"the key {key[:80]!r} is there twice in one object; expected once", "duplicate_key")


def _refuse_constant(name: str) -> None:
    raise CardError(f"{name} isn't a JSON number", "invalid_number")


def too_deep() -> CardError:
    """What is said of values inside values inside values."""
    return CardError(f"values are nested deeper than {MAX_DEPTH} levels", "too_deep")
