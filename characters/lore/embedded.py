"""The lorebook inside a card, as far as it can be told before a chat what it is worth."""

from characters.card import CharacterCard
from characters.formats.limits import MAX_WARNINGS
from characters.lore.rulebook import build_rulebook
from characters.lorebook import LorebookError, parse_lorebook


def warn_of_book(card: CharacterCard) -> tuple[str, ...]:
    """What of its lorebook can't be read or carried out. Half a second for the largest: keep it off the event loop."""
    try:
        book, coerced = parse_lorebook(card.data.character_book or {})
    except LorebookError as error:
        return (f"character_book: {error}",)
    told = list(dict.fromkeys([*coerced, *build_rulebook(book).warnings]))
    more = [f"and {len(told) - MAX_WARNINGS} more"] if len(told) > MAX_WARNINGS else []
    return tuple(f"character_book: {warning}" for warning in told[:MAX_WARNINGS] + more)
