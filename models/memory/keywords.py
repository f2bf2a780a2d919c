"""How much of a question's words a memory holds (BM25). All there is without an embedder; beside one it finds names."""

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bm25s import BM25

_WORDS = re.compile(r"\w+")
# Scripts that put no space between words, as ranges.
UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_UNSPACED = re.compile(f"[{UNSPACED}]+")
# What is left of a word where its ending is cut off; the whole word counts beside it.
STEM_LETTERS = 4
# Words that are in every question.
COMMON = frozenset(
    re.findall(
        r"\w+",
        """a about an and any are as at be been but by can could did do does for from had has have he her him his how
        i if in is it its just me my no not of on or our out she so some than that the their them then there these they
        this to too up us was we were what when where which who whom why will with would you your
        again know remember said say tell told think""",
    )
)


def words_of(text: str) -> list[str]:
    """The words that count, with their stems, and pairs of letters where words aren't told apart by spaces."""
    found: list[str] = []
    for word in _WORDS.findall(text.casefold()):
        if _UNSPACED.fullmatch(word):
            found += [word[at : at + 2] for at in range(max(1, len(word) - 1))]
        elif word not in COMMON:
            found.append(word)
            if len(word) >= STEM_LETTERS:
                found.append(f"{word[:STEM_LETTERS]}-")
    return found


class Keywords:
    """An index of texts, built at once: a second for some ten thousand of them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._count = len(texts)
        corpus = [words_of(text) for text in texts]
        self._index = _build(corpus) if any(corpus) else None

    def scores(self, question: str) -> NDArray[np.float32]:
        """For each text from 0 to below 1, how much of the question it holds; rare words count more."""
        words = words_of(question)
        if self._index is None or not words:
            return np.zeros(self._count, np.float32)
        known = self._index.get_tokens_ids(words)
        if not known:
            return np.zeros(self._count, np.float32)
        found: NDArray[np.float32] = self._index.get_scores_from_ids(known)
        # BM25 has no upper end: a rare word's weight grows with the logarithm of the number of texts.
        scores: NDArray[np.float32] = found / (found + np.float32(np.log1p(self._count)))
        return scores


def _build(corpus: list[list[str]]) -> "BM25":
    index = _bm25().BM25(method="lucene", backend="numpy")
    index.index(corpus, show_progress=False)
    return index


def _bm25() -> Any:  # the library has no types
    import bm25s

    # It sets its logger to DEBUG at import.
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return bm25s
