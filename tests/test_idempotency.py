"""`Idempotency-Key`: what is sent twice is done once, and answered twice."""

import asyncio
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from models.renderer import Renderer
from tests.fake_engine import FakeEngine, Script
from tests.faults import both, open_session, resume, said, saying, until
from tests.keyed import HELLO, KEY, REPLAYED, send
from tests.live import Live, serve_live
from tests.refusals import CHAT, assert_error


async def settled(redis: Redis) -> bool:
    """Whether no request with a key is under way."""
    return not [key for key in await redis.keys("oc:{operation:*") if await redis.hexists(key, "owner")]


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
