"""Texts that say nearly the same, found by MinHash: the only file that imports datasketch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasketch import MinHash

# Words of one shingle, and hashes of a text: with 128 the share of shingles is known to about 5 %.
SHINGLE, PERMUTATIONS = 3, 128


class Duplicates:
    """The texts met so far, and which of them another one repeats: from `threshold` on of their shingles in common."""

    def __init__(self, threshold: float) -> None:
        from datasketch import MinHashLSH  # takes a second, as it brings scipy

        self._threshold = threshold
        self._index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
        self._hashes: dict[str, MinHash] = {}

    def find(self, key: str, text: str) -> str | None:
        """The key of an earlier text that this one repeats. One that repeats none is met from now on."""
        hashed = hash_text(text)
        for earlier in sorted(self._index.query(hashed)):
            if self._hashes[earlier].jaccard(hashed) >= self._threshold:
                found: str = earlier
                return found
        self._index.insert(key, hashed)
        self._hashes[key] = hashed
        return None


def shingles(text: str) -> set[str]:
    """The runs of SHINGLE words in a text, without capitals and signs; a shorter text as a whole."""
    words = "".join(char if char.isalnum() else " " for char in text.casefold()).split()
    return {" ".join(words[at : at + SHINGLE]) for at in range(max(1, len(words) - SHINGLE + 1))}


def hash_text(text: str) -> "MinHash":
    """The MinHash of a text's shingles."""
    from datasketch import MinHash

    hashed = MinHash(num_perm=PERMUTATIONS, seed=1)
    hashed.update_batch([one.encode() for one in shingles(text)])
    return hashed
