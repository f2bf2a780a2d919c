"""Erasing: of what was deleted, Redis has nothing left, neither under its id nor in any value."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from app.errors import NotFoundError
from app.store.connection import Replies
from app.store.sessions import SessionStore, users_key
from app.store.transcripts import TranscriptStore
from app.store.users import UserStore
from models.examples import Line
from models.renderer import Renderer
from tests.conversations import new_session
from tests.fake_engine import FakeEngine, Script
from tests.live import Live, serve_live
from tests.refusals import CHAT, assert_error

pytestmark = pytest.mark.anyio
# Said by everybody, and in no card.
MARK = "Xylophagous"


async def leftovers(redis: Redis, *words: str) -> list[str]:
    """The keys that have one of the words, in their name or in their value."""
    found = []
    async for key in redis.scan_iter(count=1000):
        told = key + b"\n" + b"\n".join(map(_plain, await _values(redis, key)))
        if any(word.encode() in told for word in words):
            found.append(key.decode())
    return found


async def _values(redis: Replies, key: bytes) -> list[bytes]:
    match await redis.type(key):
        case b"string":
            return [await redis.get(key) or b""]
        case b"hash":
            return [part for pair in (await redis.hgetall(key)).items() for part in pair]
        case b"zset":
            members: list[bytes] = await redis.zrange(key, 0, -1)
            return members
        case b"set":
            return list(await redis.smembers(key))
        case b"stream":
            return [part for _, fields in await redis.xrange(key) for pair in fields.items() for part in pair]
        case kind:
            raise AssertionError(f"{key!r} is a {kind!r}, which no test knows to read")


def _plain(value: bytes) -> bytes:
    """Results of requests are compressed."""
    with suppress(zlib.error):
        return zlib.decompress(value)
    return value


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    script = Script(says=[f"{MARK} is what I said.", f"{MARK}, again."])
    async with serve_live(FakeEngine(renderer, script), redis_url) as running:
        yield running


async def talk(live: Live, session: str) -> None:
    """Say and do in the session whatever leaves something behind."""
    keyed = {"idempotency-key": "k1"}
    said = {"content": f"I am {MARK}.", "resumable": True, "stream": True}
    answer = await live.client.post(f"{session}/messages", json=said, headers=keyed)
    assert MARK in answer.text
    turn = (await live.client.post(f"{session}/regenerate", json={"n": 2})).raise_for_status().json()
    (await live.client.post(f"{session}/continue", headers={"idempotency-key": "k2"})).raise_for_status()
    (await live.client.post(f"{session}/turns/{turn['turn_id']}/cancel")).raise_for_status()
    (await live.client.put(f"{session}/checkpoints/{MARK}", json={})).raise_for_status()
    (await live.client.patch(session, json={"note": {"text": MARK}})).raise_for_status()
    memories = {"memories": [{"text": f"The user is {MARK}."}]}
    keyed = {"idempotency-key": "k4"}
    (await live.client.post(f"{session}/memories", json=memories, headers=keyed)).raise_for_status()
    (await live.client.post(f"{session}/auto", json={"turns": 2}, headers={"idempotency-key": "k5"})).raise_for_status()
    (await live.client.post(f"{session}/undo", headers={"idempotency-key": "k3"})).raise_for_status()


async def open_session(live: Live, **fields: Any) -> str:
    body = {"character_id": "lyra", "user": {"name": MARK, **fields}}
    answer = await live.client.post("/sessions", json=body, headers={"idempotency-key": f"o{fields}".replace(" ", "")})
    return f"/sessions/{answer.raise_for_status().json()['id']}"


async def test_deleted_session_leaves_nothing(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    await talk(live, session)
    # The search finds what there is: receipts, streams, memories and results among it.
    found = await leftovers(redis, session.rsplit("/", 1)[1], MARK)
    assert len([key for key in found if ":receipt:" in key]) == 5
    assert any(":turn:" in key for key in found)
    assert any(":memories" in key for key in found)
    assert len([key for key in found if key.startswith("oc:{operation:")]) == 6
    assert (await live.client.delete(session)).status_code == 204
    assert await leftovers(redis, session.rsplit("/", 1)[1], MARK) == []
    assert_error(await live.client.get(session), 404)


@pytest.mark.parametrize("resumable", [False, True])
async def test_running_turn_brings_nothing_of_a_deleted_session_back(
    renderer: Renderer, redis: Redis, redis_url: str, resumable: bool
) -> None:
    engine = FakeEngine(renderer, Script(hold_after=1))
    async with serve_live(engine, redis_url) as live:
        session = await open_session(live)
        said = {"content": f"I am {MARK}.", "resumable": resumable}
        talking = asyncio.create_task(live.client.post(f"{session}/messages", json=said))
        await engine.held.wait()
        assert (await live.client.delete(session)).status_code == 204
        engine.go.set()
        assert_error(await talking, 404)
    assert await leftovers(redis, session.rsplit("/", 1)[1], MARK) == []


@pytest.mark.parametrize("resumable", [False, True])
async def test_turn_of_a_deleted_session_is_stopped_on_whichever_server_it_runs(
    renderer: Renderer, redis: Redis, redis_url: str, resumable: bool
) -> None:
    engine = FakeEngine(renderer, Script(hold_after=1))
    async with serve_live(engine, redis_url) as live, serve_live(FakeEngine(renderer), redis_url) as other:
        session = await open_session(live)
        said = {"content": f"I am {MARK}.", "resumable": resumable}
        talking = asyncio.create_task(live.client.post(f"{session}/messages", json=said))
        await engine.held.wait()
        assert (await other.client.delete(session)).status_code == 204
        assert_error(await talking, 404)
        assert len(engine.aborted) == 1
    assert await leftovers(redis, session.rsplit("/", 1)[1], MARK) == []


async def test_asking_for_what_was_deleted_leaves_nothing(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    turn = (await live.client.post(f"{session}/messages", json={"content": "Hello."})).json()["turn_id"]
    await live.client.delete(session)
    for path in ("regenerate", "continue", "undo", "fork", f"turns/{turn}/cancel"):
        assert_error(await live.client.post(f"{session}/{path}"), 404)
    body = {"content": MARK, "on_conflict": "enqueue"}
    assert_error(await live.client.post(f"{session}/messages", json=body, headers={"idempotency-key": "late"}), 404)
    assert_error(await live.client.post(f"{session}/memories", json={"text": MARK}), 404)
    assert await leftovers(redis, session.rsplit("/", 1)[1], MARK) == []


# Users


async def test_user_has_a_list_of_sessions(live: Live) -> None:
    mine = [await open_session(live, id="sam@example.org", persona=str(number)) for number in range(2)]
    await open_session(live, id="kim")
    await open_session(live)
    shown = (await live.client.get("/sessions", params={"user_id": "sam@example.org"})).json()
    assert [f"/sessions/{session['id']}" for session in shown["sessions"]] == mine[::-1]
    assert {session["user_id"] for session in shown["sessions"]} == {"sam@example.org"}
    assert len((await live.client.get("/sessions")).json()["sessions"]) == 4
    assert (await live.client.get("/sessions", params={"user_id": "nobody"})).json()["sessions"] == []


async def test_user_is_erased_with_all_sessions_and_forks(live: Live, redis: Redis) -> None:
    session = await open_session(live, id="sam/1")
    await talk(live, session)
    (await live.client.post(f"{session}/fork")).raise_for_status()
    other = (await live.client.post("/sessions", json={"character_id": "lyra", "user": {"id": "kim"}})).json()["id"]
    answer = await live.client.delete("/users/sam/1")
    assert answer.json() == {"user_id": "sam/1", "sessions_deleted": 2}
    assert await leftovers(redis, MARK, "sam/1") == []
    assert [one["id"] for one in (await live.client.get("/sessions")).json()["sessions"]] == [other]
    assert (await live.client.delete("/users/sam/1")).json()["sessions_deleted"] == 0


async def test_user_of_a_chat_completion_is_whose_its_session_is(live: Live) -> None:
    said = {"model": "lyra", "messages": [{"role": "user", "content": f"I am {MARK}."}], "user": "sam"}
    (await live.client.post(CHAT, json=said, headers={"x-session-id": "s1"})).raise_for_status()
    (
        await live.client.post(CHAT, json=said | {"user": {"id": "sam"}}, headers={"x-session-id": "s2"})
    ).raise_for_status()
    (await live.client.post(CHAT, json=said | {"user": 7}, headers={"x-session-id": "s3"})).raise_for_status()
    shown = (await live.client.get("/sessions", params={"user_id": "sam"})).json()["sessions"]
    assert [session["id"] for session in shown] == ["s2", "s1"]
    assert_error(await live.client.post(CHAT, json=said | {"user": "x" * 201}), 400, param="user")


async def test_replies_without_a_session_are_erased_with_their_user(redis: Redis, sessions: SessionStore) -> None:
    transcripts, users = TranscriptStore(redis), UserStore(redis, sessions)
    said = [Line("user", "One."), Line("assistant", "Two.")]
    await transcripts.keep("scope", said[:1], [("Two.", [1, 2])], "sam")
    await transcripts.keep("scope", [*said, Line("user", "Three.")], [("Four.", [3])], "kim")
    assert await transcripts.read("scope", said) == {1: [1, 2]}
    await users.erase("sam")
    assert await transcripts.read("scope", said) == {}
    assert len(await redis.keys("oc:{transcript:*")) == 1


async def test_session_of_somebody_else_under_the_same_id_stays(redis: Redis, sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    # As a server leaves it that dies between the session and its user's list.
    await redis.zadd(users_key("sam", "sessions"), {session.id: 1.0})
    assert (await sessions.list(user_id="sam"))[0] == []
    assert await UserStore(redis, sessions).erase("sam") == 0
    assert (await sessions.get(session.id)).id == session.id
    assert await redis.keys("oc:{user:*") == []


async def test_session_that_is_about_to_be_opened_stays_on_its_users_list(redis: Redis, sessions: SessionStore) -> None:
    users, index = UserStore(redis, sessions), users_key("sam", "sessions")
    now = (await redis.time())[0]
    await redis.zadd(index, {"sess_soon": now, "sess_never": now - 3600})
    assert await users.erase("sam") == 0
    assert await redis.zrange(index, 0, -1) == [b"sess_soon"]
    with pytest.raises(NotFoundError):
        await sessions.delete("sess_soon")


async def test_session_stays_its_users(live: Live) -> None:
    session = await open_session(live, id="sam")
    assert_error(await live.client.patch(session, json={"user": {"id": "kim"}}), 400, param="user.id")
    changed = await live.client.patch(session, json={"user": {"id": "sam", "name": "Sam"}})
    assert (changed.json()["user_id"], changed.json()["user"]["name"]) == ("sam", "Sam")
