"""Files from elsewhere that hold JSON and tensors, read no further than is safe; safetensors are never loaded here."""

import json
import struct
from pathlib import Path
from typing import Any

MOST_HEADER_BYTES = 16 << 20
_DTYPE_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


class FileFault(ValueError):
    """The file isn't what it should be; the message says what is wrong with it."""


def read_object(path: Path, most_bytes: int) -> dict[str, Any]:
    """A JSON object. Raises FileFault and OSError."""
    check_size(path, most_bytes)
    return _parse(path.read_bytes())


def check_size(path: Path, most_bytes: int) -> int:
    """The file's size. Raises FileFault for more than is read, and for what is no file: a pipe would never end."""
    if path.exists() and not path.is_file():
        raise FileFault("it is no file")
    size = path.stat().st_size
    if size > most_bytes:
        raise FileFault(f"it has more than {most_bytes:,} bytes")
    return size


def read_header(path: Path, most_bytes: int) -> tuple[dict[str, Any], int]:
    """The descriptions of a safetensors file's matrices by name, and its size. Raises FileFault and OSError.

    They are of 16 or 32 bits, and fill the file to the last byte: one that is cut off is no file of tensors.
    """
    size = check_size(path, most_bytes)
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 0 < length <= min(MOST_HEADER_BYTES, size - 8):
            raise FileFault("it isn't a safetensors file, or only a part of one")
        header = _parse(file.read(length))
    header.pop("__metadata__", None)
    if any(not _is_whole(tensor) for tensor in header.values()):
        raise FileFault("its header describes something else than tensors of 16 or 32 bits")
    spans = sorted(tuple(tensor["data_offsets"]) for tensor in header.values())
    ends = [0, *(end for _, end in spans)]
    if [begin for begin, _ in spans] != ends[:-1] or ends[-1] != size - 8 - length:
        raise FileFault("it is cut off, or has more in it than its header says")
    return header, size


def _is_whole(tensor: Any) -> bool:
    """Whether a tensor's description agrees with itself."""
    match tensor:
        case {"dtype": str(dtype), "shape": [int(rows), int(columns)], "data_offsets": [int(begin), int(end)]}:
            taken = rows * columns * _DTYPE_BYTES.get(dtype, 0)
            return min(rows, columns) > 0 and end - begin == taken > 0
    return False


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise FileFault("it isn't JSON") from None
    if not isinstance(value, dict):
        raise FileFault("it isn't a JSON object")
    return value
