"""Sessions in Redis: one hash slot each, written in one step and only by whom the version still fits.

Under `oc:{<session>}`: `:meta` (hash), `:messages` (hash of JSON by message id), `:tokens` (hash of packed ids by
message id), `:lease` and `:waiter`, who has it and who is next; of named operations `:receipt:<name>` and their names
by time, `:operations`. A session's ids stand in the sorted set `oc:sessions` by the time it was opened, and where it
is somebody's in that of theirs, `oc:{user:<digest>}:sessions`.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import orjson
from redis.asyncio import Redis

from app.errors import ConflictError, SessionBusyError
from app.sessions.ids import new_id
from app.sessions.message import Message
from app.sessions.receipts import KEPT_S, DoneBefore, Receipt, current_operation
from app.sessions.session import Cut, Session
from app.sessions.terms import OnConflict
from app.store.connection import Replies, redis_errors
from app.store.durability import Durability, DurableScript
from app.store.idempotency import erase_records, record_key
from app.store.keys import session_key, unknown_session
from app.store.known import MOST_KNOWN, Known, KnownMessages
from app.store.scripts import load_script
from app.store.session_fields import (
    SHOWN,
    Fields,
    dump_cut,
    dump_message,
    dump_moved,
    dump_session,
    load_messages,
    load_shown,
    read_session,
)

ALL = "oc:sessions"
# Everything that a session has, but for its receipts and streams.
_PARTS = (
    *("meta", "operations", "turns", "messages", "tokens", "lease", "waiter", "cancel"),
    *("memories", "vectors", "remembered"),
)
# A place behind a turn is lost by who doesn't ask for it so long.
_PLACE_MS = 2000


class SessionStore:
    """All methods raise UnavailableError when Redis doesn't answer, and NotFoundError for an unknown session.

    Of the sessions that were asked for last, `most_known` messages are kept here and not read again.
    """

    def __init__(
        self, redis: Redis, lease_s: float, durability: Durability = "everysec", *, most_known: int = MOST_KNOWN
    ) -> None:
        self._redis: Replies = redis
        self._lease_ms = int(lease_s * 1000)
        self._known = KnownMessages(most_known)
        self._read = redis.register_script(load_script("read_session"))
        self._acquire = redis.register_script(load_script("acquire"))
        self._commit = DurableScript(redis, "commit", durability)
        self._release = redis.register_script(load_script("release"))
        self._renew = load_script("renew")
        self._plan = redis.register_script(load_script("plan"))
        self._reserve = redis.register_script(load_script("reserve"))
        self._erase = redis.register_script(load_script("erase"))

    async def create(self, session: Session) -> Session:
        """Write a new session, as version 1. Raises ConflictError when the id is taken.

        A named operation writes one: where an earlier attempt has, that one is returned.
        """
        operation = current_operation()
        session_id = await self._reserved(operation, session.id) if operation else session.id
        if session_id == session.id:
            return await self._create(session)
        try:
            return await self._create(replace(session, id=session_id, seed=session.seed or session.id))
        except ConflictError:
            await self._commit.confirm(session_key(session_id, "operations"), KEPT_S)
            return await self.get(session_id)

    async def _reserved(self, operation: str, session_id: str) -> str:
        """The id of the session that the operation makes, which is erased with it."""
        async with redis_errors():
            reserved: bytes = await self._reserve(keys=[record_key(operation)], args=[session_id])
            operations = session_key(reserved.decode(), "operations")
            await self._redis.zadd(operations, {operation: int(time.time())})
            await self._redis.expire(operations, KEPT_S)
        return reserved.decode()

    async def _create(self, session: Session) -> Session:
        async with redis_errors():
            await self._redis.zadd(ALL, {session.id: session.created}, nx=True)
            if session.user_id:
                await self._redis.zadd(users_key(session.user_id, "sessions"), {session.id: time.time()}, nx=True)
        messages = list(session.messages.values())
        return await self.commit(session, messages, tip=session.tip, window=session.window)

    async def get(self, session_id: str) -> Session:
        """The session as it is now, whoever is at it."""
        known = self._known.find(session_id)
        keys = [session_key(session_id, part) for part in ("meta", "messages", "tokens")]
        async with redis_errors():
            parts = await self._read(keys=keys, args=[known.commit])
        return await self._put_together(session_id, known, *map(_pairs, parts))

    async def _put_together(
        self, session_id: str, known: Known, meta: Fields, messages: Fields | None = None, tokens: Fields | None = None
    ) -> Session:
        """The session of these parts: those without messages that are `known`."""
        if not meta:
            self._known.forget(session_id)
            raise unknown_session(session_id)
        if messages is not None and tokens is not None:
            known = Known(meta[b"commit"], load_messages(messages, tokens))
        self._known.keep(session_id, known)
        return await read_session(session_id, meta, known.messages)

    async def acquire(self, session_id: str, lease: str) -> Session:
        """Take the session for one turn and read it. Raises SessionBusyError while another has it, or is next."""
        taken = await self.line_up(session_id, lease, "reject")
        assert isinstance(taken, Session)
        return taken

    async def line_up(self, session_id: str, lease: str, way: OnConflict | Literal["stay"]) -> Session | str:
        """Take the session as `acquire` does, or the place behind the turn that has it, whose id is returned then.

        The place is one's, and for `_PLACE_MS`: `stay` in it, or somebody else takes it. `interrupt` takes it from who
        has it. Raises SessionBusyError where there is none, or no longer.
        """
        known = self._known.find(session_id)
        keys = [session_key(session_id, part) for part in ("meta", "messages", "tokens", "lease", "waiter")]
        async with redis_errors():
            args: list[str | int | bytes] = [lease, self._lease_ms, way, _PLACE_MS, known.commit]
            outcome, *parts = await self._acquire(keys=keys, args=args)
        if outcome == b"waiting":
            holder: bytes = parts[0]
            return holder.decode()
        if outcome == b"busy":
            raise SessionBusyError(f"the session {session_id!r} is answering already: wait for that turn, or cancel it")
        if outcome == b"missing":
            raise unknown_session(session_id)
        return await self._put_together(session_id, known, *map(_pairs, parts))

    async def commit(
        self,
        session: Session,
        added: Sequence[Message],
        *,
        tip: str | None,
        window: str | None,
        lease: str | None = None,
        undo: Sequence[str] | None = None,
        receipt: Receipt | None = None,
    ) -> Session:
        """Add messages to `session` and move its tip, in one step; the lease is given back with it.

        `undo` as of `Session.add`; `receipt` is kept of a named operation.

        `lease` also names the commit: sent twice, it is done once. Returns the session as it is then. Raises
        ConflictError when somebody else has committed since it was read.
        """
        changed = session.add(added, tip=tip, window=window, undo=undo)
        keys = [session_key(session.id, part) for part in ("meta", "messages", "tokens", "lease")]
        whole = not session.version or session.renewed != "nothing"
        meta = [item for pair in (dump_session(changed) if whole else dump_moved(changed)).items() for item in pair]
        written = changed.messages if session.renewed == "ids" else [message.id for message in added]
        records = [item for message_id in written for item in dump_message(changed.messages[message_id])]
        if receipt:
            keys += [session_key(session.id, "operations"), _receipt_key(session.id, receipt.operation)]
            records += [receipt.operation, orjson.dumps(receipt), str(KEPT_S * 1000)]
        expected, name = session.version or "new", lease or new_id("commit")
        async with redis_errors():
            outcome = await self._commit(
                keys=keys,
                args=[expected, name, repr(session.created), len(meta) // 2, *meta, *records],
            )
        if outcome == b"missing":
            raise unknown_session(session.id)
        if outcome == b"taken":
            raise ConflictError(f"there is a session {session.id!r} already", code="id_taken")
        if outcome == b"conflict":
            raise ConflictError(f"the session {session.id!r} has moved on since version {session.version}")
        self._known.keep(session.id, Known(name.encode(), changed.messages))
        return changed

    async def plan(self, session: Session, planned: Cut) -> bool:
        """Keep the cut that was planned for the next turn; False where that has begun, or the session is gone."""
        keys = [session_key(session.id, part) for part in ("meta", "lease")]
        async with redis_errors():
            outcome = await self._plan(keys=keys, args=[session.version, repr(session.created), dump_cut(planned)])
        return bool(outcome == b"ok")

    async def check_undone(self, session_id: str, operation: str | None) -> None:
        """Raise DoneBefore when the session has a receipt of the operation, and what it did is safe."""
        if operation is None:
            return
        async with redis_errors():
            raw = await self._redis.get(_receipt_key(session_id, operation))
        if raw is not None:
            await self._commit.confirm(_receipt_key(session_id, operation), KEPT_S)
            raise DoneBefore(Receipt(**orjson.loads(raw)))

    async def release(self, session_id: str, lease: str) -> None:
        """Give the session back without a commit."""
        async with redis_errors():
            await self._release(keys=[session_key(session_id, "lease")], args=[lease])

    async def leave(self, session_id: str, lease: str) -> None:
        """Give up the place in front of the session, and the session where it was got just now."""
        async with redis_errors():
            for part in ("waiter", "lease"):
                await self._release(keys=[session_key(session_id, part)], args=[lease])

    async def renew(self, leases: Sequence[tuple[str, str]]) -> None:
        """Keep each session for another lease's length, all in one pipeline; pairs of a session's id and its lease."""
        async with redis_errors():
            pipeline = self._redis.pipeline(transaction=False)
            for session_id, lease in leases:
                # As text: a cluster's pipelines take no script by its digest.
                pipeline.eval(self._renew, 1, session_key(session_id, "lease"), lease, self._lease_ms)
            await pipeline.execute()

    async def delete(self, session_id: str, user_id: str | None = None) -> None:
        """Erase the session and everything of it; a turn that it has leaves nothing behind.

        One that isn't that user's, where one is named, is as if it weren't there.
        """
        self._known.forget(session_id)
        keys = [session_key(session_id, part) for part in _PARTS]
        async with redis_errors():
            prefixes = [_receipt_key(session_id, ""), session_key(session_id, "turn:")]
            removed, owner, *operations = await self._erase(keys=keys, args=[*prefixes, user_id or ""])
            for index in _indexes(owner.decode()) if removed or user_id is None else ():
                await self._redis.zrem(index, session_id)
        await erase_records(self._redis, [name.decode() for name in operations])
        if not removed:
            raise unknown_session(session_id)

    async def list(
        self, *, offset: int = 0, limit: int = 50, user_id: str | None = None
    ) -> tuple[list[dict[str, Any]], int | None]:
        """A page of sessions, newest first, as clients see them, and the next offset (None at the end).

        Those of a user alone where one is named.
        """
        async with redis_errors():
            ids = await self._redis.zrevrange(_indexes(user_id)[-1], offset, offset + limit)
            pipeline = self._redis.pipeline(transaction=False)
            for session_id in ids[:limit]:
                pipeline.hmget(session_key(session_id.decode(), "meta"), SHOWN)
            rows = await pipeline.execute()
        metas = [{name: value for name, value in zip(SHOWN, row, strict=True) if value is not None} for row in rows]
        shown = [
            load_shown(session_id.decode(), meta).to_wire()
            for session_id, meta in zip(ids, metas, strict=False)
            if meta and user_id in (None, meta.get(b"user_id", b"").decode())
        ]
        return shown, offset + limit if len(ids) > limit else None


def users_key(user_id: str, part: str) -> str:
    """Where something of a user's stands; ids are anybody's text, e-mail addresses among it."""
    return f"oc:{{user:{hashlib.sha256(user_id.encode()).hexdigest()[:32]}}}:{part}"


def _indexes(user_id: str | None) -> list[str]:
    """The sorted sets that have the id of a session of theirs."""
    return [ALL, users_key(user_id, "sessions")] if user_id else [ALL]


def _receipt_key(session_id: str, operation: str) -> str:
    return session_key(session_id, f"receipt:{operation}")


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    """A hash as scripts return it."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
