"""What is stored of a session, field by field: as it is written to a hash, and read from it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import lru_cache
from typing import Any

import anyio.to_thread
import orjson

from app.sessions.message import Message
from app.sessions.session import Cut, Session
from app.store.cast import dump_cast, dump_playbill, load_cast, load_playbill
from app.store.packing import pack, unpack
from characters.card import CharacterCard
from characters.lorebook import Lorebook, parse_lorebook
from models.renderer import Role, Turn
from models.scene import Note, UserPersona

# A hash, as Redis has it.
Fields = Mapping[bytes, bytes]

# Fields of a session that are stored as they are.
_SETTINGS = (
    "lorebook_ids",
    "persona_id",
    "greeting",
    "follows",
    "character_version",
    "revision",
    "checkpoints",
    "seed",
    "turn_order",
    "memory",
    "as_of",
)
# What a list shows of a session, and what it needs not be told of it.
SHOWN = (b"version", b"character_id", b"user", b"user_id", b"created", b"updated", b"settings", b"playbill")
_NOTHING = {
    b"card": b'{"data":{"name":"nobody"}}',
    b"fingerprint": b"",
    b"head": b"",
    b"tip": b"",
    b"window": b"",
    b"extra": b"",
}
# Larger ones are read beside the event loop.
_LARGE = 1 << 16
_MESSAGE_FIELDS = tuple(field.name for field in fields(Message) if field.name != "token_ids")


def dump_session(session: Session) -> dict[str, str | bytes]:
    """All of a session but its messages."""
    return {
        "id": session.id,
        "character_id": session.character_id,
        "card": orjson.dumps(session.card.model_dump(exclude_unset=True)),
        "user": orjson.dumps(asdict(session.user)),
        "fingerprint": session.fingerprint,
        "head": pack([token for turn in session.head for token in turn.token_ids]),
        "head_turns": orjson.dumps([[turn.role, len(turn.token_ids)] for turn in session.head]),
        "extra": session.extra,
        "books": orjson.dumps([[name, book.model_dump(exclude_unset=True)] for name, book in session.books]),
        "cast": dump_cast(session.cast),
        "playbill": dump_playbill(session.cast, session.card.data.scenario),
        "user_id": session.user_id or "",
        "brought": orjson.dumps(session.brought),
        "settings": orjson.dumps({name: getattr(session, name) for name in _SETTINGS} | {"note": asdict(session.note)}),
        "created": repr(session.created),
        **dump_moved(session),
    }


def dump_moved(session: Session) -> dict[str, str | bytes]:
    """What every commit changes."""
    return {
        "version": str(session.version),
        "tip": session.tip or "",
        "window": session.window or "",
        "undo": orjson.dumps(session.undo),
        "cut": dump_cut(session.cut),
        "planned": dump_cut(session.planned),
        "updated": repr(session.updated),
    }


def dump_message(message: Message) -> tuple[str, bytes, bytes]:
    """Its id, what it says, and its ids of tokens."""
    # Not `asdict`, which copies every id of the reply one by one.
    fields = {name: getattr(message, name) for name in _MESSAGE_FIELDS}
    return message.id, orjson.dumps(fields), pack(message.token_ids)


async def read_session(session_id: str, meta: Fields, messages: Mapping[str, Message]) -> Session:
    """The session of these fields and messages."""
    # What is read here is at hand when the session is put together.
    if len(meta.get(b"books", b"")) > _LARGE:
        await anyio.to_thread.run_sync(_load_books, meta[b"books"])
    if len(meta.get(b"cast", b"")) > _LARGE:
        await anyio.to_thread.run_sync(load_cast, meta[b"cast"])
    return _load(session_id, meta, messages)


def _load(session_id: str, meta: Fields, messages: Mapping[str, Message]) -> Session:
    return Session(
        id=session_id,
        version=int(meta[b"version"]),
        character_id=meta[b"character_id"].decode(),
        card=_load_card(meta[b"card"]),
        user=UserPersona(**orjson.loads(meta[b"user"])),
        fingerprint=meta[b"fingerprint"].decode(),
        head=_load_head(unpack(meta[b"head"]), meta.get(b"head_turns")),
        tip=meta[b"tip"].decode() or None,
        window=meta[b"window"].decode() or None,
        undo=tuple(orjson.loads(meta.get(b"undo", b"[]"))),
        cut=_load_cut(meta.get(b"cut", b"")),
        planned=_load_cut(meta.get(b"planned", b"")),
        extra=meta[b"extra"].decode(),
        books=_load_books(meta.get(b"books", b"[]")),
        cast=load_cast(meta.get(b"cast", b"")),
        user_id=meta.get(b"user_id", b"").decode() or None,
        brought=orjson.loads(meta.get(b"brought", b"{}")),
        **_load_settings(meta.get(b"settings", b"{}")),
        created=float(meta[b"created"]),
        updated=float(meta[b"updated"]),
        messages=messages,
    )


def load_shown(session_id: str, meta: Fields) -> Session:
    """What a list shows of a session, of whose cast it needs the names alone."""
    return replace(_load(session_id, {**_NOTHING, **meta}, {}), **load_playbill(meta.get(b"playbill", b"")))


def load_messages(messages: Fields, tokens: Fields) -> dict[str, Message]:
    """By their ids, each with its ids of tokens."""
    return {key.decode(): _load_message(raw, tokens[key]) for key, raw in messages.items()}


def _load_message(raw: bytes, token_ids: bytes) -> Message:
    told = orjson.loads(raw)
    return Message(**{**told, "seen_by": tuple(told.get("seen_by", ()))}, token_ids=unpack(token_ids))


def _load_head(token_ids: list[int], turns: bytes | None) -> list[Turn]:
    """The head's turns out of their ids in a row; sessions of version 0.1.0 have a single one, of the system's."""
    lengths: list[tuple[Role, int]] = orjson.loads(turns) if turns else [("system", len(token_ids))]
    head, start = [], 0
    for role, length in lengths:
        head.append(Turn(role, token_ids[start : start + length]))
        start += length
    return head


def dump_cut(cut: Cut | None) -> bytes:
    return orjson.dumps([cut.window, cut.recap]) if cut else b""


def _load_cut(raw: bytes) -> Cut | None:
    return Cut(*orjson.loads(raw)) if raw else None


def _load_settings(raw: bytes) -> dict[str, Any]:
    """Fields of a session; those of version 0.1.0 have none."""
    settings: dict[str, Any] = orjson.loads(raw)
    return {
        **settings,
        "lorebook_ids": tuple(settings.get("lorebook_ids", ())),
        "note": Note(**settings.get("note", {})),
    }


@lru_cache(maxsize=64)
def _load_books(raw: bytes) -> Sequence[tuple[str, Lorebook]]:
    """Immutable, and the same for every turn of a session."""
    return tuple((name, parse_lorebook(book)[0]) for name, book in orjson.loads(raw))


@lru_cache(maxsize=1024)
def _load_card(raw: bytes) -> CharacterCard:
    """Cards are immutable, and the same few come with every turn."""
    return CharacterCard.model_validate(orjson.loads(raw))
