"""Lorebooks in requests: the JSON of any that stands alone, or a file of one; and as answers show them.

Reading is slow where a book is large, so it is left to whoever has a thread or a process for it.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import orjson

from app.api.http.ids import check_id
from app.api.http.patch import merge
from app.errors import InvalidRequestError
from app.store.lorebooks import LorebookRecord, StoredBook, write_book
from characters.card import CardError
from characters.formats.book import check_size
from characters.formats.chunks import SIGNATURE
from characters.formats.document import clean, parse_json
from characters.formats.limits import MAX_CARD_BYTES
from characters.formats.lorebooks import LorebookFile, build_lorebook_file, read_lorebook, write_v3
from characters.lore.coercion import Coercion, first_warnings
from characters.lore.rulebook import MAX_ENTRIES, build_rulebook
from characters.lorebook import Lorebook, parse_lorebook

# In JSON that orjson wrote, behind no backslash that is text itself.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# What stands beside a book's `data`.
ENVELOPE = ("id", "spec", "version", "warnings")


@dataclass(frozen=True, slots=True)
class BookBody:
    """What a client sent: the bytes of a book, and what it said beside them. `file` is its name on their disk."""

    blob: bytes
    id: Any = None
    name: str | None = None
    file: str = ""

    def read(self, name_before: str = "") -> tuple[str | None, StoredBook]:
        """The id that was chosen, if any, and the book, checked: a second for the largest.

        It is called what the request or the book itself says, else `name_before`, else as its file.
        Raises InvalidRequestError.
        """
        try:
            told, file = _read_file(self.blob)
            chosen = self.id if self.id is not None else told.get("id")
            own = told.get("name") if isinstance(told.get("name"), str) else None
            names = (self.name, own, file.book.name, name_before, PurePosixPath(self.file).stem)
            name = next((name.strip() for name in names if name and name.strip()), "")
            return check_id(chosen), build_book(file.book, file.warnings, name)
        except CardError as error:
            raise InvalidRequestError(str(error), code=error.code) from error

    def replace(self, book: StoredBook) -> StoredBook:
        """What stands in the place of `book` from now on; it keeps its name where this one brings none."""
        return self.read(book.name)[1]

    def patch(self, book: StoredBook) -> StoredBook:
        """`book` with this merge patch (RFC 7396) of its `data`, or of an object with `data`, in it."""
        coercion = Coercion()
        try:
            patch = parse_json(self.blob, coercion)
            if not isinstance(patch, dict):
                raise InvalidRequestError("a merge patch is a JSON object")
            bare = {key: item for key, item in patch.items() if key not in ENVELOPE}
            merged = merge(book.read().model_dump(exclude_unset=True), patch.get("data", bare))
            read, warnings = parse_lorebook(merged)
            return build_book(read, (*coercion.warnings, *warnings))
        except CardError as error:
            raise InvalidRequestError(str(error), code=error.code) from error


def build_book(book: Lorebook, warnings: tuple[str, ...] = (), name: str = "") -> StoredBook:
    """What is kept of `book`, called `name` where that is given, once it is within limits and its rules were tried.

    Raises InvalidRequestError, and CardError where a text is too long or values are nested too deep.
    """
    if name and name != book.name:
        book = book.model_copy(update={"name": name})
    if len(book.entries) > MAX_ENTRIES:
        told = f"the lorebook has {len(book.entries):,} entries; at most {MAX_ENTRIES:,} are kept"
        raise InvalidRequestError(told, code="too_many_entries")
    for place, entry in enumerate(book.entries):
        check_size(f"entries[{place}].content", entry.content)
    # One level is the answer's around its `data`, so that what is read here can be sent back.
    clean(book.model_dump(exclude_unset=True), Coercion(), depth=1)
    kept = write_book(book, first_warnings([*warnings, *build_rulebook(book).warnings]))
    if len(kept.text) > MAX_CARD_BYTES:
        told = f"the lorebook has {len(kept.text):,} bytes of JSON; at most {MAX_CARD_BYTES:,} are kept"
        raise InvalidRequestError(told, code="document_too_large")
    if _NUL.search(kept.text):
        raise InvalidRequestError("the lorebook holds a NUL character (\\u0000)", code="invalid_text")
    return kept


def _read_file(blob: bytes) -> tuple[dict[str, Any], LorebookFile]:
    """What the JSON says beside the book, and the book."""
    if blob.startswith(SIGNATURE):
        return {}, read_lorebook(blob)
    coercion = Coercion()
    value = parse_json(blob, coercion)
    told = {"id": value.pop("id", None), "name": value.get("name")} if isinstance(value, dict) else {}
    return told, build_lorebook_file(value, coercion)


def record_to_wire(record: LorebookRecord) -> bytes:
    """What clients see of a lorebook, as JSON."""
    book = write_v3(record.book.read())
    return orjson.dumps({"id": record.id, **book, "version": record.version, "warnings": record.book.warnings})
