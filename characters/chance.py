"""Chance that can be replayed: the same seed and the same names give the same roll, on every machine and forever."""

from hashlib import blake2b


def roll(seed: str, *names: str) -> float:
    """A number in [0, 1), even, and independent for each combination of `seed` and `names`."""
    digest = blake2b(digest_size=7)
    for part in (seed, *names):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    # Seven bytes: 56 bits, of which a float keeps the upper 53.
    return (int.from_bytes(digest.digest(), "big") >> 3) / 2**53
