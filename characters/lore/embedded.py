"""The lorebook inside a card, as far as it can be told before a chat what it is worth."""

from characters.card import CharacterCard
from characters.lore.coercion import first_warnings
from characters.lore.rulebook import build_rulebook
from characters.lorebook import LorebookError, parse_lorebook


def warn_of_book(card: CharacterCard) -> tuple[str, ...]:
    """What of its lorebook can't be read or carried out. Half a second for the largest: keep it off the event loop."""
    try:
        book, coerced = parse_lorebook(card.data.character_book or {})
    except LorebookError as error:
        return (f"character_book: {error}",)
    told = first_warnings([*coerced, *build_rulebook(book).warnings])
    return tuple(f"character_book: {warning}" for warning in told)
