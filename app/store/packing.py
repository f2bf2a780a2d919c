"""Ids of tokens as bytes, four each: as Redis keeps them."""

import array
from collections.abc import Sequence


def pack(token_ids: Sequence[int]) -> bytes:
    return array.array("I", token_ids).tobytes()


def unpack(raw: bytes) -> list[int]:
    ids = array.array("I")
    ids.frombytes(raw)
    return ids.tolist()
