"""`Idempotency-Key`: what is sent twice is done once, and answered twice."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from redis.asyncio import Redis

from app.api.http import idempotency
from models.renderer import Renderer
from tests.fake_engine import FakeEngine, Script
from tests.faults import both, open_session, resume, said, saying, until
from tests.live import Live, serve_live
from tests.refusals import CHAT, assert_error

KEY = {"Idempotency-Key": "once"}
HELLO = {"content": "Hello."}
REPLAYED = "idempotent-replayed"


async def send(live: Live, path: str, body: Any = None, **headers: str) -> httpx.Response:
    return await live.client.post(path, json=body, headers=KEY | headers)


async def settled(redis: Redis) -> bool:
    """Whether no request with a key is under way."""
    return not [key for key in await redis.keys("oc:{operation:*") if await redis.hexists(key, "owner")]


async def until_ms(redis: Redis, record: bytes | str) -> int:
    """Until when the owner of a claim has it."""
    until = await redis.hget(record, "until")
    assert until
    return int(until)


@pytest.mark.anyio
@both
async def test_turn_sent_twice_is_taken_once(live: Live, stream: bool) -> None:
    session = await open_session(live)
    first, second = [await send(live, f"{session}/messages", HELLO | {"stream": stream}) for _ in range(2)]
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers["content-type"] == first.headers["content-type"]
    assert (REPLAYED in first.headers, second.headers[REPLAYED]) == (False, "true")
    assert len(await said(live, session)) == 2
    assert len(live.engine.prompts) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sessions", {"character_id": "lyra"}),
        ("/characters", {"name": "Odo"}),
        ("/lorebooks", {"name": "Harbour", "entries": []}),
        ("/personas", {"name": "Mira"}),
        (CHAT, {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}]}),
    ],
    ids=["session", "character", "lorebook", "persona", "chat"],
)
async def test_post_sent_twice_is_done_once(live: Live, path: str, body: dict[str, Any]) -> None:
    first, second = await send(live, path, body), await send(live, path, body)
    assert first.is_success, first.text
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers.get("location") == first.headers.get("location")
    assert second.headers[REPLAYED] == "true"


@pytest.mark.anyio
async def test_file_sent_twice_is_imported_once(live: Live) -> None:
    # Larger than what is kept in memory.
    card = b'{"spec":"chara_card_v2","spec_version":"2.0","data":{"name":"Odo"}' + b" " * 2_000_000 + b"}"
    first, second = [await live.client.post("/characters/import", content=card, headers=KEY) for _ in range(2)]
    assert first.is_success, first.text
    assert second.content == first.content
    assert [item["id"] for item in (await live.client.get("/characters?q=odo")).json()["characters"]] == ["odo"]


@pytest.mark.anyio
async def test_key_of_another_request_is_refused(live: Live) -> None:
    session = await open_session(live)
    await send(live, f"{session}/messages", HELLO)
    for answer in (
        await send(live, f"{session}/messages", {"content": "Bye."}),
        await send(live, f"{session}/messages?channels=raw", HELLO),
        await send(live, f"{session}/messages", HELLO, **{"X-Session-Id": "another"}),
    ):
        assert_error(answer, 422, code="idempotency_key_reused")
    assert len(await said(live, session)) == 2


@pytest.mark.anyio
async def test_key_is_of_one_path_and_one_sender(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    keys = ("a-key-of-somebody", "a-key-of-another")
    async with serve_live(FakeEngine(renderer), redis_url, api_keys=",".join(keys)) as live:
        senders = [{"Authorization": f"Bearer {key}"} for key in keys]
        body = {"character_id": "lyra"}
        opened = [await send(live, "/sessions", body, **sender) for sender in (*senders, *senders)]
        sessions = [answer.json()["id"] for answer in opened]
        assert sessions[:2] == sessions[2:]
        assert len({*sessions}) == 2
        for session in sessions[:2]:
            answer = await send(live, f"/sessions/{session}/messages", HELLO, **senders[0])
            assert (answer.status_code, answer.json()["session_id"]) == (200, session)


@pytest.mark.anyio
@both
async def test_request_that_is_under_way_is_not_begun_again(live: Live, stream: bool) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=1)
    body = HELLO | {"stream": stream}
    first = asyncio.create_task(send(live, f"{session}/messages", body))
    await live.engine.held.wait()
    refused = await send(live, f"{session}/messages", body)
    assert_error(refused, 409, code="idempotency_in_progress")
    assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == ("1", "true")
    resume(live)
    assert (await first).content == (await send(live, f"{session}/messages", body)).content
    assert len(await said(live, session)) == 2


@pytest.mark.anyio
async def test_one_of_many_at_once_does_it(live: Live) -> None:
    session = await open_session(live)
    answers = await asyncio.gather(*(send(live, f"{session}/messages", HELLO) for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    assert len(await said(live, session)) == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    "key", ["", "two words", "ключ", "x" * 256, "\x00"], ids=["empty", "space", "letters", "long", "nul"]
)
async def test_bad_key_is_refused(live: Live, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode())]
    try:
        answer = await live.client.post("/sessions", json={"character_id": "lyra"}, headers=headers)
    except httpx.HTTPError:
        assert key == "\x00"
        return
    assert answer.status_code == 400
    if key != "\x00":
        assert_error(answer, 400, code="invalid_idempotency_key", param="Idempotency-Key")


@pytest.mark.anyio
async def test_two_keys_are_refused(live: Live) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answer = await live.client.post("/sessions", json={"character_id": "lyra"}, headers=headers)
    assert_error(answer, 400, code="invalid_idempotency_key")


@pytest.mark.anyio
async def test_refusal_frees_the_key(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    assert_error(await send(live, f"{session}/messages", {"content": " "}), 400)
    live.engine.script = Script(hold_after=1)
    async with saying(live, session, stream=True):
        assert_error(await send(live, f"{session}/messages", HELLO), 409, code="session_busy")
        resume(live)
    await until(lambda: not live.engine.running, "the first turn is over")
    answer = await send(live, f"{session}/messages", HELLO)
    assert (answer.status_code, REPLAYED in answer.headers) == (200, False)


@pytest.mark.anyio
@both
async def test_failure_before_the_first_word_frees_the_key(live: Live, stream: bool) -> None:
    session = await open_session(live)
    live.engine.script = Script(fail_after=0)
    body = HELLO | {"stream": stream}
    assert (await send(live, f"{session}/messages", body)).status_code == 500
    resume(live)
    assert (await send(live, f"{session}/messages", body)).status_code == 200
    assert len(await said(live, session)) == 2


@pytest.mark.anyio
@both
async def test_what_was_spoken_before_a_failure_is_what_is_told_again(live: Live, stream: bool) -> None:
    session = await open_session(live)
    live.engine.script = Script(fail_after=3)
    body = HELLO | {"stream": stream}
    await send(live, f"{session}/messages", body)
    spoken = (await said(live, session))[1]
    resume(live)
    again, once_more = await send(live, f"{session}/messages", body), await send(live, f"{session}/messages", body)
    assert again.status_code == 200
    assert spoken["content"] in again.text
    assert spoken["id"] in again.text
    assert once_more.content == again.content
    assert len(await said(live, session)) == 2


@pytest.mark.anyio
@both
async def test_client_that_went_gets_what_was_spoken(live: Live, redis: Redis, stream: bool) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=2)
    body = HELLO | {"stream": stream}
    gone = asyncio.create_task(send(live, f"{session}/messages", body))
    await live.engine.held.wait()
    gone.cancel()
    await until(lambda: not live.engine.running, "the turn ends")
    while not await settled(redis):
        await asyncio.sleep(0.001)
    again = await send(live, f"{session}/messages", body)
    reply = (await said(live, session))[1]
    assert (reply["content"], reply["finish_reason"]) == ("word0 word1 ", "interrupted")
    assert again.status_code == 200
    assert reply["content"] in again.text
    if not stream:
        assert again.json()["message"]["id"] == reply["id"]
        assert again.json()["version"] == 2
        assert again.json()["usage"]["completion_tokens"] > 0
    assert len(live.engine.prompts) == 1


@pytest.fixture
async def two(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[tuple[Live, Live]]:
    """Two replicas on one Redis, whose claims and leases last a second."""
    async with (
        serve_live(FakeEngine(renderer), redis_url, lease_s=1.0) as one,
        serve_live(FakeEngine(renderer), redis_url, lease_s=1.0) as other,
    ):
        yield one, other


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


@pytest.mark.anyio
async def test_large_result_is_refused_rather_than_done_again(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MOST_RESULT_BYTES", 100)
    assert (await send(live, "/sessions", {"character_id": "lyra"})).status_code == 201
    again = await send(live, "/sessions", {"character_id": "lyra"})
    assert_error(again, 409, code="idempotency_result_too_large")
    assert again.headers["x-should-retry"] == "false"
    assert len((await live.client.get("/sessions")).json()["sessions"]) == 1


@pytest.mark.anyio
async def test_body_larger_than_any_is_refused(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with serve_live(FakeEngine(renderer), redis_url, max_body_bytes=1024, max_import_bytes=1024) as live:
        answer = await live.client.post("/characters/import", content=b"x" * 100_000, headers=KEY)
        assert_error(answer, 413, code="body_too_large")
    assert await redis.keys("oc:{operation:*") == []


@pytest.mark.anyio
async def test_results_are_erased_with_their_session(live: Live, redis: Redis) -> None:
    opened = await send(live, "/sessions", {"character_id": "lyra"})
    session = f"/sessions/{opened.json()['id']}"
    await send(live, f"{session}/messages", HELLO)
    await send(
        live,
        CHAT,
        {"model": "lyra", "messages": [{"role": "user", "content": "And?"}]},
        **{"X-Session-Id": opened.json()["id"]},
    )
    await send(live, f"{session}/undo")
    assert len(await redis.keys("oc:{operation:*")) == 4
    assert (await live.client.delete(session)).status_code == 204
    assert await redis.keys("oc:{operation:*") == []
    assert await redis.keys(f"*{opened.json()['id']}*") == []


@pytest.mark.anyio
@pytest.mark.parametrize("named", [{"session_id": "mine"}, {"metadata": {"chat_id": "mine"}}], ids=str)
async def test_results_of_asides_are_erased_with_the_session_that_their_body_names(
    live: Live, redis: Redis, named: dict[str, Any]
) -> None:
    asked = {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}], **named}
    (await live.client.post(CHAT, json=asked)).raise_for_status()
    (await send(live, CHAT, asked | {"store": False})).raise_for_status()
    assert len(await redis.keys("oc:{operation:*")) == 1
    assert (await live.client.delete("/sessions/mine")).status_code == 204
    assert await redis.keys("oc:{operation:*") == []


@pytest.mark.anyio
@pytest.mark.parametrize("session_id", ["}x", "{x}", "a}b{c", "x" * 129, "a b"])
async def test_what_is_no_sessions_id_is_no_session(live: Live, session_id: str) -> None:
    path, turn = f"/sessions/{quote(session_id)}", f"turn_{'0' * 32}"
    assert_error(await live.client.get(path), 404, code="session_not_found")
    assert_error(await send(live, f"{path}/messages", HELLO), 404, code="session_not_found")
    assert_error(await live.client.delete(path), 404, code="session_not_found")
    assert_error(await live.client.get(f"{path}/memories"), 404, code="session_not_found")
    assert_error(await live.client.get(f"{path}/turns/{turn}/stream"), 404)
    assert_error(await live.client.post(f"{path}/turns/{turn}/cancel"), 404)


@pytest.mark.anyio
async def test_result_of_an_erased_session_is_not_kept(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=1)
    turn = asyncio.create_task(send(live, f"{session}/messages", HELLO))
    await live.engine.held.wait()
    await live.client.delete(session)
    resume(live)
    assert (await turn).status_code == 404
    assert await redis.keys("oc:{operation:*") == []
    assert await redis.keys(f"*{session.rpartition('/')[2]}*") == []


@pytest.mark.anyio
async def test_everything_kept_runs_out(live: Live, redis: Redis) -> None:
    opened = await send(live, "/sessions", {"character_id": "lyra"})
    await send(live, f"/sessions/{opened.json()['id']}/messages", HELLO)
    kept = [*await redis.keys("oc:{operation:*"), *await redis.keys("*:receipt:*"), *await redis.keys("*:operations")]
    assert len(kept) == 4
    assert all([86_000 < await redis.ttl(key) <= 86_400 for key in kept])


@pytest.mark.anyio
async def test_request_without_a_key_asks_nothing_of_redis(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    await live.client.post(f"{session}/messages", json=HELLO)
    await live.client.get(session, headers=KEY)
    assert await redis.keys("oc:{operation:*") == []
