"""The cast of a session as it is stored: each member's card and books as they were, and apart what lists show."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from app.sessions.cast import Member, build_ensemble
from characters.card import CardData, CharacterCard
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


def dump_playbill(cast: Sequence[Member], scene: str) -> bytes:
    """Who plays what, as JSON; nothing for a session with a single character."""
    names = [[member.character_id, member.name] for member in cast]
    return orjson.dumps({"cast": names, "scene": scene}) if cast else b""


def load_playbill(raw: bytes) -> dict[str, Any]:
    """Fields of a session for what lists show of it: a cast of names, and the scene."""
    if not raw:
        return {}
    told = orjson.loads(raw)
    cast = [Member(character_id, _called(name)) for character_id, name in told["cast"]]
    return {"cast": cast, "card": build_ensemble(cast, told["scene"])}


def _called(name: str) -> CharacterCard:
    # As a nickname, for those may be longer than names.
    return CharacterCard(data=CardData(name="nobody", nickname=name))


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
