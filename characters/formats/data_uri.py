"""`data:` addresses (RFC 2397): a file written into its own address."""

import base64
import mimetypes
from urllib.parse import unquote_to_bytes

from characters.card import CardError
from characters.formats.document import decode_base64
from characters.formats.limits import MAX_FILE_BYTES

SCHEME = "data:"
# Longer than any base64 of a file that is read.
MAX_CHARS = MAX_FILE_BYTES * 4 // 3 + 1024


def is_data_uri(uri: str) -> bool:
    return uri[: len(SCHEME)].lower() == SCHEME


def parse_data_uri(uri: str) -> tuple[bytes, str]:
    """The file and its media type, in lower case and without parameters.

    Raises CardError: `bad_base64`, `bad_data_uri`, `file_too_large`.
    """
    head, comma, body = uri[len(SCHEME) :].partition(",")
    if not comma:
        raise CardError("a data: address has no comma before its data", "bad_data_uri")
    if len(body) > MAX_CHARS:
        raise CardError(f"a data: address holds more than {MAX_FILE_BYTES:,} bytes", "file_too_large")
    media_type, *parameters = (part.strip().lower() for part in head.split(";"))
    if "base64" in parameters:
        return decode_base64(body.encode()), media_type
    return unquote_to_bytes(body), media_type


def build_data_uri(blob: bytes, path: str) -> str:
    """The address; its media type is the one that the ending of `path` has."""
    media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return f"{SCHEME}{media_type};base64,{base64.b64encode(blob).decode()}"
