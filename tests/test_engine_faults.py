"""The engine fails: at once it is a status, in mid-stream an error frame, and the session goes on."""

import pytest

from models.engine import EngineDeadError, EngineError, InvalidRequest
from tests.fake_engine import Script
from tests.faults import assert_error_frames, both, open_session, resume, said
from tests.live import Live


@pytest.mark.anyio
@both
@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (EngineError("it failed"), 503, "engine_error"),
        (EngineDeadError("it died"), 503, "engine_dead"),
        (InvalidRequest("not like this"), 400, None),
    ],
    ids=["error", "dead", "invalid"],
)
async def test_engine_that_fails_at_once_is_a_status(
    live: Live, stream: bool, failure: Exception, status: int, code: str | None
) -> None:
    session = await open_session(live)
    live.engine.script = Script(fail_after=0, failure=failure)
    answer = await live.client.post(f"{session}/messages", json={"content": "Hello.", "stream": stream})
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert await said(live, session) == []
    resume(live)
    assert (await live.client.post(f"{session}/messages", json={"content": "Hello."})).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("failure", "code"), [(EngineError("it failed"), "engine_error"), (EngineDeadError("it died"), "engine_dead")]
)
async def test_engine_that_fails_in_mid_stream_is_an_error_frame(live: Live, failure: Exception, code: str) -> None:
    session = await open_session(live)
    live.engine.script = Script(fail_after=2, failure=failure)
    answer = await live.client.post(f"{session}/messages", json={"content": "Hello.", "stream": True})
    assert "word1" in answer.text
    assert_error_frames(answer.text.splitlines(), code)
    reply = (await said(live, session))[-1]
    assert (reply["content"], reply["finish_reason"]) == ("word0 word1 ", "interrupted")


@pytest.mark.anyio
async def test_engine_that_fails_in_mid_json_says_that_the_turn_is_stored(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(fail_after=2, failure=EngineError("it failed"))
    answer = await live.client.post(f"{session}/messages", json={"content": "Hello."})
    assert answer.status_code == 503
    assert answer.headers["x-should-retry"] == "false"
    assert (await said(live, session))[-1]["finish_reason"] == "interrupted"


@pytest.mark.anyio
async def test_bug_in_mid_stream_is_an_error_frame(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(fail_after=2, failure=ZeroDivisionError())
    answer = await live.client.post(f"{session}/messages", json={"content": "Hello.", "stream": True})
    assert_error_frames(answer.text.splitlines(), "internal_error")


@pytest.mark.anyio
@both
async def test_bug_in_mid_turn_leaves_the_session_free(live: Live, stream: bool) -> None:
    session = await open_session(live)
    live.engine.script = Script(fail_after=0, failure=ZeroDivisionError())
    answer = await live.client.post(f"{session}/messages", json={"content": "Hello.", "stream": stream})
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    resume(live)
    assert (await live.client.post(f"{session}/messages", json={"content": "Hello."})).status_code == 200


@pytest.mark.anyio
async def test_dead_engine_is_told_by_every_endpoint_that_needs_it(live: Live) -> None:
    session = await open_session(live)
    live.engine.max_model_len = 8192  # room for a profile, or its writing would be refused for that
    live.engine.die()
    body = {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}], "stream": True}
    for answer in (
        await live.client.get("/health"),
        await live.client.get("/ready"),
        await live.client.post(f"{session}/messages", json={"content": "Hello."}),
        await live.client.post("/v1/chat/completions", json=body),
        await live.client.post("/characters/synthesize", json={"persona": "A baker"}),
    ):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "engine_dead"
    assert (await live.client.get(session)).status_code == 200
