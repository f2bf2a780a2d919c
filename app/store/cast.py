"""The cast of a session as it is stored: each member's card and books as they were."""

from collections.abc import Sequence
from functools import lru_cache

import orjson

from app.sessions.cast import Member
from characters.card import CharacterCard
from characters.lorebook import parse_lorebook


def dump_cast(cast: Sequence[Member]) -> bytes:
    """JSON; nothing for a session with a single character."""
    if not cast:
        return b""
    return orjson.dumps(
        [
            {
                "character_id": member.character_id,
                "card": member.card.model_dump(exclude_unset=True),
                "motive": member.motive,
                "knowledge": member.knowledge,
                "books": [[name, book.model_dump(exclude_unset=True)] for name, book in member.books],
                "version": member.version,
                "revision": member.revision,
            }
            for member in cast
        ]
    )


@lru_cache(maxsize=64)
def load_cast(raw: bytes) -> tuple[Member, ...]:
    """Immutable, and the same for every turn of a session."""
    return tuple(
        Member(
            **told
            | {
                "card": CharacterCard.model_validate(told["card"]),
                "books": tuple((name, parse_lorebook(book)[0]) for name, book in told["books"]),
            }
        )
        for told in (orjson.loads(raw) if raw else [])
    )
