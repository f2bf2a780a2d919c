"""What a replica did before it died, which another one tells to who sends its `Idempotency-Key` again."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from models.renderer import Renderer
from tests.fake_engine import Script
from tests.faults import both, open_session, resume, said
from tests.keyed import HELLO, send
from tests.live import Live
from tests.refusals import CHAT, assert_error
from tests.resumable import two_servers


async def until_ms(redis: Redis, record: bytes | str) -> int:
    """Until when the owner of a claim has it."""
    until = await redis.hget(record, "until")
    assert until
    return int(until)


@pytest.fixture
async def two(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[tuple[Live, Live]]:
    """Two replicas on one Redis, whose claims and leases last a second."""
    async with two_servers(renderer, redis_url, lease_s=1.0) as servers:
        yield servers


async def forget_result(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the replica die between what it does and what it keeps of it."""

    async def die(*_: object, **__: object) -> None:
        pass

    claims = live.app.state.claims
    monkeypatch.setattr(claims, "settle", die)
    monkeypatch.setattr(claims, "release", die)
    monkeypatch.setattr(claims, "_keep_all", die)


async def send_until_answered(live: Live, path: str, body: Any) -> httpx.Response:
    async with asyncio.timeout(10):
        while (answer := await send(live, path, body)).status_code == 409:
            assert answer.json()["error"]["code"] in ("idempotency_in_progress", "session_busy")
            await asyncio.sleep(0.01)
    return answer


@pytest.mark.anyio
@both
async def test_turn_whose_replica_died_after_it_is_told_by_another(
    two: tuple[Live, Live], monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    one, other = two
    session = await open_session(one)
    await forget_result(one, monkeypatch)
    body = HELLO | {"stream": stream}
    first = await send(one, f"{session}/messages", body)
    # Somebody goes on meanwhile.
    await one.client.post(f"{session}/messages", json={"content": "And?"})
    again = await send_until_answered(other, f"{session}/messages", body)
    assert [message["content"] for message in await said(one, session)][::2] == ["Hello.", "And?"]
    assert not other.engine.prompts
    if stream:
        assert again.text.endswith("data: [DONE]\n\n")
    else:
        fields = ("message", "turn_id", "message_id", "version", "session_id", "usage")
        assert {name: again.json()[name] for name in fields} == {name: first.json()[name] for name in fields}


@pytest.mark.anyio
async def test_turns_of_every_kind_are_told_by_another(two: tuple[Live, Live], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = two
    session = await open_session(one)
    one.engine.script = Script(says=("One.", "Two.", "Three.", "Four.", "Five."))
    await one.client.post(f"{session}/messages", json=HELLO)
    await forget_result(one, monkeypatch)
    asked: list[tuple[str, dict[str, Any]]] = [
        ("regenerate", {"n": 2}),
        ("continue", {}),
        ("impersonate", {"content": "I say"}),
        ("undo", {}),
    ]
    first = [(await send(one, f"{session}/{path}", body)).json() for path, body in asked]
    again = [(await send_until_answered(other, f"{session}/{path}", body)).json() for path, body in asked]
    assert again == first
    assert (await one.client.get(session)).json()["version"] == 6


@pytest.mark.anyio
@pytest.mark.parametrize("fork", [False, True], ids=["opened", "forked"])
async def test_session_whose_replica_died_after_it_is_told_by_another(
    two: tuple[Live, Live], monkeypatch: pytest.MonkeyPatch, fork: bool
) -> None:
    one, other = two
    path, body = (f"{await open_session(one)}/fork", {}) if fork else ("/sessions", {"character_id": "lyra"})
    await forget_result(one, monkeypatch)
    before = len((await one.client.get("/sessions")).json()["sessions"])
    first, again = await send(one, path, body), await send_until_answered(other, path, body)
    assert again.json() == first.json()
    assert len((await one.client.get("/sessions")).json()["sessions"]) == before + 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/personas", {"name": "Mira"}),
        ("/personas", {"name": "Mira", "id": "mine"}),
        ("/characters", {"name": "Odo"}),
        ("/characters", {"name": "Odo", "id": "mine"}),
        ("/lorebooks", {"name": "Harbour", "entries": []}),
    ],
)
async def test_record_whose_replica_died_after_it_is_made_once(
    two: tuple[Live, Live], monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    one, other = two
    await one.client.post(path, json=body | {"name": "Somebody else", "id": "else"})
    await forget_result(one, monkeypatch)
    first, again = await send(one, path, body), await send_until_answered(other, path, body)
    assert (again.status_code, again.json()["id"], again.headers["etag"]) == (
        first.status_code,
        first.json()["id"],
        first.headers["etag"],
    )
    assert len((await one.client.get(f"{path}?q={body['name']}")).json()[path[1:]]) == 1
    # Another request is another record.
    body.pop("id", None)
    assert (await one.client.post(path, json=body)).json()["id"] != first.json()["id"]


@pytest.mark.anyio
async def test_version_whose_replica_died_after_it_is_restored_once(
    two: tuple[Live, Live], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    await one.client.post("/personas", json={"name": "Mira", "id": "mira"})
    await one.client.patch("/personas/mira", json={"name": "Mora"})
    await forget_result(one, monkeypatch)
    path = "/personas/mira/versions/1/restore"
    first, again = await send(one, path), await send_until_answered(other, path, None)
    assert again.json() == first.json()
    assert (again.json()["version"], again.json()["name"]) == (3, "Mira")


@pytest.mark.anyio
@pytest.mark.parametrize("many", [False, True])
async def test_memories_whose_replica_died_after_them_are_written_once(
    two: tuple[Live, Live], monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    one, other = two
    path = f"{await open_session(one)}/memories"
    texts = [{"text": f"Sam fears lift {number}."} for number in range(3)]
    body = {"memories": texts} if many else texts[0]
    await forget_result(one, monkeypatch)
    # As many as there may be: those that are there already take no more room.
    monkeypatch.setattr("app.store.memories.MOST_MEMORIES", 3 if many else 1)
    first, again = await send(one, path, body), await send_until_answered(other, path, body)
    assert (first.status_code, again.status_code) == (201, 201)
    kept = (await one.client.get(path)).json()["memories"]
    told = again.json()["memories"] if many else [again.json()]
    assert sorted(kept, key=lambda memory: memory["id"]) == sorted(told, key=lambda memory: memory["id"])
    assert len({memory["text"] for memory in kept}) == len(kept) == (3 if many else 1)


@pytest.mark.anyio
async def test_turn_of_an_openai_client_is_told_by_another(
    two: tuple[Live, Live], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    await forget_result(one, monkeypatch)
    body = {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}]}
    first = await send(one, CHAT, body, **{"X-Session-Id": "mine"})
    async with asyncio.timeout(10):
        while (again := await send(other, CHAT, body, **{"X-Session-Id": "mine"})).status_code == 409:
            await asyncio.sleep(0.01)
    assert again.json()["choices"] == first.json()["choices"]
    assert again.json()["turn_id"] == first.json()["turn_id"]
    assert (await one.client.get("/sessions/mine")).json()["version"] == 2


@pytest.mark.anyio
async def test_claim_of_a_long_turn_is_kept(two: tuple[Live, Live], redis: Redis) -> None:
    one, other = two
    session = await open_session(one)
    one.engine.script = Script(hold_after=1)
    first = asyncio.create_task(send(one, f"{session}/messages", HELLO))
    await one.engine.held.wait()
    [key] = await redis.keys("oc:{operation:*")
    before = await until_ms(redis, key)
    async with asyncio.timeout(10):
        while await until_ms(redis, key) < before + 1000:
            await asyncio.sleep(0.01)
    assert_error(await send(other, f"{session}/messages", HELLO), 409, code="idempotency_in_progress")
    resume(one)
    assert (await first).status_code == 200
