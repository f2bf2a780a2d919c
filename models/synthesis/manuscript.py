"""A text of any length as a file: its white space folded, read part by part, and never held as a whole."""

import codecs
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.synthesis.form import LOOKED_AT

# What is looked at in one go: about a millisecond of Python, so that other threads get their turns.
PART_BYTES = 1 << 16
MOST_BYTES_A_CHARACTER = 4
# Of the part before: a name may stand across the edge.
EDGE_CHARACTERS = 200


class UnreadableText(ValueError):
    """The file is no text in UTF-8, or there are no words in it; `code` names the fault."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Manuscript:
    """A text with one space between its words: where it lies, how many bytes it has, its SHA-256, some of its letters.

    Places in it are counted in bytes.
    """

    path: Path
    size: int
    digest: str
    sample: str

    def part(self, at: int, characters: int) -> str:
        """As many characters from the place `at` on, fewer at the end."""
        with self.path.open("rb") as file:
            file.seek(at)
            # The last character may be cut in two.
            return file.read(characters * MOST_BYTES_A_CHARACTER).decode(errors="ignore")[:characters]

    def names(self, name: str) -> bool:
        """Whether `name`, or a word of it, stands in the text, in capitals or not. Seconds for the longest."""
        before = ""
        for part in _decoded(self.path):
            text = before + part
            # A word that the next part may go on with is looked at then; the last part is empty.
            if is_named(name, text[: text.rfind(" ") + 1] or text if part else text):
                return True
            edge = text[-EDGE_CHARACTERS:]
            before = edge.partition(" ")[2] or edge
        return False


def fold_text(source: Path, target: Path) -> Manuscript:
    """The text in `source` with its white space folded, written to `target`. Seconds for the longest.

    Raises UnreadableText.
    """
    step = source.stat().st_size // LOOKED_AT + 1
    digest, sample, size = hashlib.sha256(), [], 0
    with target.open("wb") as out:
        for part in _folded(_decoded(source)):
            raw = part.encode()
            out.write(raw)
            digest.update(raw)
            sample.append(part[::step])
            size += len(raw)
    if not size:
        raise UnreadableText("the text is empty", "empty_text")
    return Manuscript(target, size, digest.hexdigest(), "".join(sample))


def is_named(name: str, text: str) -> bool:
    """Whether the name, or a word of it, stands in the text, in capitals or not."""
    if name.lower() == name.upper() and name in text:  # many scripts without capitals have no spaces, either
        return True
    words = "|".join(re.escape(word) for word in name.casefold().split())
    return re.search(rf"(?<!\w)(?:{words})(?!\w)", text.casefold()) is not None


def _decoded(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        with path.open("rb") as file:
            while raw := file.read(PART_BYTES):
                yield decoder.decode(raw)
            yield decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise UnreadableText("the text isn't in UTF-8; expected plain text that is", "not_utf8") from None


def _folded(parts: Iterator[str]) -> Iterator[str]:
    """The parts with one space wherever there is white space, and none at the ends."""
    begun = gap = False
    for part in parts:
        if "\0" in part:
            raise UnreadableText("the text holds a NUL character", "invalid_text")
        folded = " ".join(part.split())
        gap = gap or part[:1].isspace()
        if folded:
            yield f" {folded}" if begun and gap else folded
            begun, gap = True, part[-1].isspace()
