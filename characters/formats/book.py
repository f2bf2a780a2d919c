"""The lorebook inside a card, read as any other, with a word on what programs put there beyond the specifications."""

from collections.abc import Iterable

from characters.card import CardError
from characters.formats.document import Json
from characters.formats.limits import MAX_TEXT_CHARS
from characters.formats.lorebooks import build_lorebook_file
from characters.lore.coercion import Coercion
from characters.lorebook import LorebookError, LoreEntry

# RisuAI keeps its folders as entries whose key begins so.
FOLDER = "\uf000folder:"
MAX_NAMES = 8


def settle_book(value: Json, coercion: Coercion) -> Json | None:
    """The book as a V3 card has it; None when `value` is none. Raises CardError `field_too_large`.

    Some programs put a book of their own kind into a card: that is read, too.
    """
    try:
        read = build_lorebook_file({"entries": []} | value if isinstance(value, dict) else value)
    except LorebookError as error:
        coercion.warn(f"character_book: {error}")
        return None
    for warning in read.warnings:
        coercion.warn(f"character_book: {warning}")
    book = read.book
    for place, entry in enumerate(book.entries):
        check_size(f"character_book.entries[{place}].content", entry.content)
    if folders := sum(map(_is_folder, book.entries)):
        coercion.warn(f"character_book: {folders} of its entries are RisuAI's folders; kept, and they hold no lore")
    tell_unknown("character_book", book.model_extra or {}, coercion)
    tell_unknown("character_book.entries", {key for entry in book.entries for key in entry.model_extra or {}}, coercion)
    return book.to_v3()


def check_size(field: str, text: str) -> None:
    """Raises CardError `field_too_large` when `text` is longer than anything that belongs into a prompt."""
    if len(text) > MAX_TEXT_CHARS:
        told = f"`{field}` has {len(text):,} characters; at most {MAX_TEXT_CHARS:,} are read"
        raise CardError(told, "field_too_large")


def tell_unknown(what: str, names: Iterable[str], coercion: Coercion) -> None:
    """Warn of fields that no specification names."""
    found = sorted(names)
    if found:
        more = f" and {len(found) - MAX_NAMES} more" if len(found) > MAX_NAMES else ""
        told = ", ".join(f"`{name[:40]}`" for name in found[:MAX_NAMES])
        coercion.warn(f"{what} has fields that no specification names: {told}{more}; kept, and not used")


def _is_folder(entry: LoreEntry) -> bool:
    return any(key.startswith(FOLDER) for key in entry.keys)
