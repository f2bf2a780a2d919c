"""Chance that can be replayed: the same seed and the same names give the same roll, on every machine and forever."""

from hashlib import shake_128

# Of which a float keeps the upper 53 bits.
_BYTES = 7


def roll(seed: str, *names: str) -> float:
    """A number in [0, 1), even, and independent for each combination of `seed` and `names`."""
    return rolls(1, seed, *names)[0]


def rolls(count: int, seed: str, *names: str) -> list[float]:
    """`count` such numbers, independent of one another, of which the first is `roll`'s."""
    digest = shake_128()
    for part in (seed, *names):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    drawn = digest.digest(count * _BYTES)
    return [
        (int.from_bytes(drawn[start : start + _BYTES], "big") >> 3) / 2**53 for start in range(0, len(drawn), _BYTES)
    ]
