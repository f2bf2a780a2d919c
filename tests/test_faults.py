"""What breaks while somebody talks: Redis, the client, the server, the engine. No turn is ever half written."""

import asyncio
import json
import os
import signal
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from app.sessions.session import Message, Session, new_id
from app.store.connection import connect
from app.store.embedded import embedded_redis, find_redis_server
from app.store.sessions import SessionStore
from models.engine import EngineDeadError, EngineError, InvalidRequest
from models.renderer import Renderer
from tests.conftest import FAKE, Server, is_running, run_server, wait_until
from tests.fake_engine import FakeEngine, Script
from tests.live import Live, serve_live

LEASE_S = 1.0
both = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    async with serve_live(FakeEngine(renderer), redis_url, lease_s=LEASE_S) as running:
        yield running


async def until(condition: Callable[[], object], what: str, timeout_s: float = 10.0) -> None:
    """Return as soon as `condition` holds; fail, naming `what`, when it doesn't in time."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.001)
    except TimeoutError:
        raise TimeoutError(f"{what}: not within {timeout_s} s") from None


async def open_session(live: Live) -> str:
    """The path of a new session."""
    answer = await live.client.post("/sessions", json={"character_id": "lyra"})
    return f"/sessions/{answer.raise_for_status().json()['id']}"


async def said(live: Live, session: str) -> list[dict[str, Any]]:
    """What a session holds after its greeting."""
    messages: list[dict[str, Any]] = (await live.client.get(f"{session}/messages")).json()["messages"]
    return messages[1:]


def gauge(live: Live, name: str) -> float:
    """A metric as Prometheus would read it."""
    lines = live.app.state.metrics.exposition().decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"opencharacter_{name} "))


def payloads(lines: list[str]) -> list[str]:
    return [line.removeprefix("data: ") for line in lines if line]


def assert_error_frames(lines: list[str], code: str) -> None:
    """That a stream ended as a failed one does: an error frame, then [DONE]."""
    *_, error, done = payloads(lines)
    assert done == "[DONE]"
    assert json.loads(error)["error"]["code"] == code
    assert set(json.loads(error)["error"]) == {"message", "type", "param", "code"}


@asynccontextmanager
async def saying(
    live: Live, session: str, *, stream: bool, **fields: Any
) -> AsyncIterator[asyncio.Task[httpx.Response]]:
    """A turn under way, held where the engine's script says; the answer is the task's."""
    body = {"content": "Hello.", "stream": stream, **fields}
    task = asyncio.create_task(live.client.post(f"{session}/messages", json=body))
    try:
        await asyncio.wait_for(live.engine.held.wait(), 10)
        yield task
    finally:
        live.engine.go.set()
        task.cancel()
        with suppress(asyncio.CancelledError, httpx.HTTPError):
            await task


def resume(live: Live) -> None:
    """Let the engine say the rest, of this turn and of those to come."""
    live.engine.script = Script()
    live.engine.go.set()


# Redis


class OwnRedis:
    """A redis-server that a test kills and starts again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.url = f"unix://{directory}/redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ("--dir", self._directory, "--unixsocket", self._directory / "redis.sock", "--port", "0")
        durable = ("--appendonly", "yes", "--appendfsync", "always")
        self._process = subprocess.Popen([find_redis_server(), *options, *durable], stdout=subprocess.DEVNULL)
        with SyncRedis.from_url(self.url) as redis:
            wait_until(lambda: _answers(redis), "Redis answers")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


def _answers(redis: "SyncRedis") -> bool:
    with suppress(Exception):
        return bool(redis.ping())
    return False


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def fragile(renderer: Renderer, own_redis: OwnRedis) -> AsyncIterator[Live]:
    """A live application on a Redis of its own."""
    async with serve_live(FakeEngine(renderer), own_redis.url, lease_s=LEASE_S) as running:
        yield running


@pytest.mark.anyio
@both
async def test_redis_stopped_in_mid_turn_is_told(fragile: Live, own_redis: OwnRedis, stream: bool) -> None:
    session = await open_session(fragile)
    fragile.engine.script = Script(hold_after=2)
    async with saying(fragile, session, stream=stream) as turn:
        own_redis.kill()
        fragile.engine.go.set()
        answer = await turn
    if stream:
        assert answer.status_code == 200
        assert_error_frames(answer.text.splitlines(), "store_unavailable")
    else:
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.json()["error"]["code"] == "store_unavailable"
    own_redis.start()


@pytest.mark.anyio
@both
async def test_redis_stopped_in_mid_turn_leaves_no_half_turn(fragile: Live, own_redis: OwnRedis, stream: bool) -> None:
    session = await open_session(fragile)
    fragile.engine.script = Script(hold_after=2)
    async with saying(fragile, session, stream=stream) as turn:
        own_redis.kill()
        fragile.engine.go.set()
        await turn
    own_redis.start()
    assert await said(fragile, session) == []
    async with connect(own_redis.url) as redis:
        key = f"oc:{{{session.rpartition('/')[2]}}}"
        assert await redis.hlen(f"{key}:messages") == await redis.hlen(f"{key}:tokens") == 1


@pytest.mark.anyio
async def test_chat_goes_on_when_redis_is_back(fragile: Live, own_redis: OwnRedis) -> None:
    session = await open_session(fragile)
    fragile.engine.script = Script(hold_after=2)
    async with saying(fragile, session, stream=False) as turn:
        own_redis.kill()
        resume(fragile)
        await turn
    own_redis.start()
    async with asyncio.timeout(LEASE_S + 5):  # the lost turn's lease runs out by itself
        while (
            answer := await fragile.client.post(f"{session}/messages", json={"content": "Again."})
        ).status_code != 200:
            assert answer.json()["error"]["code"] == "session_busy"
    assert (await said(fragile, session))[0]["content"] == "Again."


@pytest.mark.anyio
async def test_server_without_redis_is_alive_but_not_ready(fragile: Live, own_redis: OwnRedis) -> None:
    session = await open_session(fragile)
    own_redis.kill()
    assert (await fragile.client.get("/health")).status_code == 200
    for answer in (
        await fragile.client.get("/ready"),
        await fragile.client.get("/characters"),
        await fragile.client.get(session),
        await fragile.client.post(f"{session}/messages", json={"content": "Hello.", "stream": True}),
        await fragile.client.post("/characters", json={"name": "Odo"}),
    ):
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "store_unavailable"
    own_redis.start()
    assert (await fragile.client.get("/ready")).status_code == 200
    assert (await fragile.client.post(f"{session}/messages", json={"content": "Hello."})).status_code == 200


@pytest.mark.anyio
async def test_raw_model_answers_without_redis(fragile: Live, own_redis: OwnRedis) -> None:
    own_redis.kill()
    body = {"model": "fake", "messages": [{"role": "user", "content": "Hello."}]}
    assert (await fragile.client.post("/v1/chat/completions", json=body)).status_code == 200
    own_redis.start()


# The client


@pytest.mark.anyio
@both
async def test_client_gone_before_the_first_byte_leaves_nothing(live: Live, stream: bool) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=0)
    async with saying(live, session, stream=stream) as turn:
        assert gauge(live, "requests_waiting") == 1
        turn.cancel()
        await until(lambda: not live.engine.running, "the engine was told", 1)
    await until(lambda: gauge(live, "requests_waiting") == 0, "the turn is over", 1)
    assert len(live.engine.aborted) == 1
    assert await said(live, session) == []
    resume(live)
    assert (await live.client.post(f"{session}/messages", json={"content": "Hello."})).json()["version"] == 2


@pytest.mark.anyio
async def test_client_gone_in_mid_stream_keeps_what_was_spoken(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=3)
    body = {"content": "Hello.", "stream": True}
    async with live.client.stream("POST", f"{session}/messages", json=body) as response:
        async for line in response.aiter_lines():
            if "word2" in line:
                break
        assert gauge(live, "requests_running") == 1
    await until(lambda: not live.engine.running, "the engine was told", 1)
    await until(lambda: gauge(live, "requests_running") == 0, "the turn is over", 1)
    asked, reply = await said(live, session)
    assert asked["content"] == "Hello."
    assert (reply["content"], reply["finish_reason"]) == ("word0 word1 word2 ", "interrupted")


@pytest.mark.anyio
async def test_client_gone_while_it_waits_for_json_keeps_what_was_spoken(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=3)
    async with saying(live, session, stream=False) as turn:
        turn.cancel()
        await until(lambda: not live.engine.running, "the engine was told", 1)
    await until(lambda: gauge(live, "requests_running") == 0, "the turn is over", 1)
    assert [message.get("finish_reason") for message in await said(live, session)] == [None, "interrupted"]


@pytest.mark.anyio
async def test_chat_goes_on_from_an_interrupted_reply(live: Live) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=3)
    async with saying(live, session, stream=True) as turn:
        turn.cancel()
        await until(lambda: not live.engine.running, "the engine was told", 1)
    await until(lambda: gauge(live, "requests_running") == 0, "the turn is over", 1)
    resume(live)
    (await live.client.post(f"{session}/messages", json={"content": "Go on."})).raise_for_status()
    before, after = live.engine.prompts
    spoken = [token for number in range(3) for token in live.engine.renderer.encode(f"word{number} ")]
    assert after[: len(before) + len(spoken)] == before + spoken


@pytest.mark.anyio
async def test_client_of_chat_completions_gone_stops_the_engine(live: Live) -> None:
    live.engine.script = Script(hold_after=2)
    body = {"model": "lyra", "messages": [{"role": "user", "content": "Hello."}], "stream": True}
    async with live.client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert await anext(response.aiter_lines())
    await until(lambda: not live.engine.running, "the engine was told", 1)
    await until(lambda: gauge(live, "requests_running") == 0, "the turn is over", 1)


def test_client_gone_stops_the_real_engine(client: httpx.Client) -> None:
    session = f"/sessions/{client.post('/sessions', json={'character_id': 'lyra'}).json()['id']}"
    body = {"content": "Hello.", "stream": True, "max_tokens": 2000, "ignore_eos": True}
    with client.stream("POST", f"{session}/messages", json=body) as response:
        lines = response.iter_lines()
        while '"content":""' in (line := next(lines)) or not line:
            pass

    def running() -> bool:
        return "opencharacter_requests_running 0.0" not in client.get("/metrics").text

    wait_until(lambda: not running(), "nothing runs", 5)
    reply = client.get(f"{session}/messages").json()["messages"][-1]
    assert (reply["role"], reply["finish_reason"]) == ("assistant", "interrupted")


# Two at once


@pytest.mark.anyio
@both
async def test_second_turn_at_once_is_refused(live: Live, stream: bool) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=1)
    async with saying(live, session, stream=True) as first:
        second = await live.client.post(f"{session}/messages", json={"content": "And?", "stream": stream})
        again = await live.client.post(f"{session}/regenerate", json={})
        resume(live)
        assert (await first).status_code == 200
    for refused in (second, again):
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "session_busy"
        assert refused.headers["x-should-retry"] == "false"
    assert [message["content"] for message in await said(live, session)][::2] == ["Hello."]


@pytest.mark.anyio
async def test_long_turn_keeps_its_lease(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    key = f"oc:{{{session.rpartition('/')[2]}}}:lease"
    live.engine.script = Script(hold_after=1)
    async with saying(live, session, stream=True):
        left = await redis.pttl(key)
        async with asyncio.timeout(10):
            while (now := await redis.pttl(key)) <= left:
                left = now
    assert now > left


@pytest.mark.anyio
async def test_turn_that_lost_its_session_writes_nothing(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    session_id = session.rpartition("/")[2]
    store = SessionStore(redis, LEASE_S)
    live.engine.script = Script(hold_after=2)
    async with saying(live, session, stream=True) as turn:
        await redis.delete(f"oc:{{{session_id}}}:lease")
        taken = await store.acquire(session_id, "another's")
        other = Message(new_id("msg"), taken.tip, "user", "I was first.", [1])
        await store.commit(taken, [other], tip=other.id, window=None, lease="another's")
        resume(live)
        assert_error_frames((await turn).text.splitlines(), "conflict")
    assert [message["content"] for message in await said(live, session)] == ["I was first."]


@pytest.mark.anyio
async def test_session_deleted_in_mid_turn_stays_deleted(live: Live, redis: Redis) -> None:
    session = await open_session(live)
    live.engine.script = Script(hold_after=2)
    async with saying(live, session, stream=True) as turn:
        assert (await live.client.delete(session)).status_code == 204
        resume(live)
        assert_error_frames((await turn).text.splitlines(), "session_not_found")
    assert await redis.keys(f"*{session.rpartition('/')[2]}*") == []


@pytest.mark.anyio
async def test_more_than_the_server_takes_is_refused(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with serve_live(FakeEngine(renderer, Script(hold_after=1)), redis_url, max_concurrent_requests=1) as live:
        session, other = await open_session(live), await open_session(live)
        async with saying(live, session, stream=True) as first:
            refused = await live.client.post(f"{other}/messages", json={"content": "Hello."})
            resume(live)
            await first
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert refused.json()["error"]["code"] == "overloaded"
        assert (await live.client.post(f"{other}/messages", json={"content": "Hello."})).status_code == 200


# The engine


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


# The process


def script(**fields: Any) -> str:
    """What the fake engine of a server process is to say."""
    return json.dumps(fields)


def post(server: Server, path: str, body: dict[str, Any], timeout_s: float = 30) -> httpx.Response:
    return httpx.post(f"{server.url}{path}", json=body, timeout=timeout_s, verify=False)


def create(server: Server) -> str:
    return f"/sessions/{post(server, '/sessions', {'character_id': 'lyra'}).json()['id']}"


def contents(server: Server, session: str) -> list[tuple[str, str | None]]:
    messages = httpx.get(f"{server.url}{session}/messages", verify=False).json()["messages"]
    return [(message["content"], message.get("finish_reason")) for message in messages]


@dataclass
class Listener:
    """A client in a thread of its own that reads a stream to its end, or until it breaks."""

    server: Server
    path: str
    body: dict[str, Any]
    lines: list[str] = field(default_factory=list)
    broken: bool = False

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            with httpx.stream(
                "POST", f"{self.server.url}{self.path}", json=self.body, timeout=120, verify=False
            ) as answer:
                self.lines.extend(line for line in answer.iter_lines() if line)
        except httpx.HTTPError:
            self.broken = True

    def wait_for_words(self) -> None:
        wait_until(lambda: len(self.lines) > 2, "the stream speaks", 60)

    def wait_for_end(self, timeout_s: float = 30) -> None:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the stream hasn't ended"


@contextmanager
def listening(server: Server, *sessions: str, **fields: Any) -> Iterator[list[Listener]]:
    """Streams under way on each of the sessions, past their first words."""
    body = {"content": "Hello.", "stream": True, **fields}
    listeners = [Listener(server, f"{session}/messages", body) for session in sessions]
    for listener in listeners:
        listener.wait_for_words()
    yield listeners


def stored(data_dir: Path, *sessions: str) -> list[Session]:
    """The sessions as a stopped server has left them."""

    async def read() -> list[Session]:
        async with embedded_redis(data_dir / "redis") as url, connect(url) as redis:
            store = SessionStore(redis, LEASE_S)
            return [await store.get(session.rpartition("/")[2]) for session in sessions]

    return asyncio.run(read())


def test_server_killed_between_two_turns_loses_nothing(tmp_path: Path, renderer: Renderer) -> None:
    with run_server(tmp_path, FAKE, script()) as server:
        session = create(server)
        post(server, f"{session}/messages", {"content": "Hello."}).raise_for_status()
        before = contents(server, session)
        server.kill()
    assert (tmp_path / "redis" / "redis.sock").exists()
    with run_server(tmp_path, FAKE, script()) as server:
        assert contents(server, session) == before
        answer = post(server, f"{session}/messages", {"content": "Hello again."})
        assert (answer.status_code, answer.json()["version"]) == (200, 3)
    generated = [token for number in range(6) for token in renderer.encode(f"word{number} ")]
    assert stored(tmp_path, session)[0].branch()[2].token_ids == generated


def test_server_killed_in_mid_turn_leaves_no_half_turn(tmp_path: Path) -> None:
    with run_server(tmp_path, FAKE, script(words=2000, gap_s=0.02), lease_s="2") as server:
        session = create(server)
        with listening(server, session) as [listener]:
            server.kill()
            listener.wait_for_end()
        assert listener.broken
    with run_server(tmp_path, FAKE, script(), lease_s="2") as server:
        assert len(contents(server, session)) == 1

        def answered() -> bool:
            return post(server, f"{session}/messages", {"content": "Hello."}).status_code == 200

        wait_until(answered, "the lease has run out", 3)
        assert len(contents(server, session)) == 3


def test_stopped_server_commits_what_is_being_said(tmp_path: Path) -> None:
    with run_server(tmp_path, FAKE, script(words=5000, gap_s=0.02)) as server:
        short, long = create(server), create(server)
        with listening(server, short, max_tokens=40) as [brief], listening(server, long) as [endless]:
            assert server.stop() == 0
            brief.wait_for_end()
            endless.wait_for_end()
    assert brief.lines[-1] == "data: [DONE]"
    finished, interrupted = (session.branch()[-1] for session in stored(tmp_path, short, long))
    assert finished.finish_reason == "stop"
    assert interrupted.finish_reason == "interrupted"
    assert interrupted.content.startswith("word0 word1 word2 ")


def test_ctrl_c_lets_a_reply_end(tmp_path: Path) -> None:
    with run_server(tmp_path, FAKE, script(words=40, gap_s=0.02)) as server:
        session = create(server)
        with listening(server, session) as [listener]:
            server.process.send_signal(signal.SIGINT)
            listener.wait_for_end()
            assert server.process.wait(30) == 0
    assert listener.lines[-1] == "data: [DONE]"
    assert stored(tmp_path, session)[0].branch()[-1].finish_reason == "stop"


@dataclass(frozen=True)
class Wreck:
    """What was seen when the engine of a server was killed while it spoke in several sessions."""

    data_dir: Path
    sessions: list[str]
    streams: list[list[str]]
    health: list[int]
    status: int
    family: list[int]


@pytest.fixture(scope="module")
def wreck(tmp_path_factory: pytest.TempPathFactory) -> Wreck:
    data_dir = tmp_path_factory.mktemp("wreck")
    with run_server(data_dir) as server:
        sessions = [create(server) for _ in range(6)]
        family = descendants(server.process.pid)
        with listening(server, *sessions, max_tokens=3000, ignore_eos=True) as listeners:
            os.kill(named(family, "VLLM::EngineCore"), signal.SIGKILL)
            health = list(probe(server))
            for listener in listeners:
                listener.wait_for_end()
        return Wreck(
            data_dir, sessions, [listener.lines for listener in listeners], health, server.process.wait(30), family
        )


def probe(server: Server) -> Iterator[int]:
    """The statuses of `/health` for as long as anybody answers."""
    while server.process.poll() is None:
        try:
            yield httpx.get(f"{server.url}/health", verify=False).status_code
        except httpx.TransportError:
            return


def test_killed_engine_ends_every_stream_with_an_error_frame(wreck: Wreck) -> None:
    for lines in wreck.streams:
        assert_error_frames(lines, "engine_dead")


def test_killed_engine_is_never_called_healthy_again(wreck: Wreck) -> None:
    assert set(wreck.health) <= {200, 503}
    assert wreck.health == sorted(wreck.health)


def test_killed_engine_ends_the_server(wreck: Wreck) -> None:
    assert wreck.status == 1


def test_killed_engine_leaves_no_process(wreck: Wreck) -> None:
    wait_until(lambda: not any(map(is_running, wreck.family)), "all of the server's processes are gone")


def test_killed_engine_keeps_what_was_spoken(wreck: Wreck) -> None:
    for session in stored(wreck.data_dir, *wreck.sessions):
        reply = session.branch()[-1]
        assert (reply.role, reply.finish_reason) == ("assistant", "interrupted")
        assert reply.content


def test_server_after_a_killed_engine_serves_its_sessions(wreck: Wreck) -> None:
    with run_server(wreck.data_dir, FAKE, script()) as server:
        for session in wreck.sessions:
            assert post(server, f"{session}/messages", {"content": "Again."}).json()["version"] == 3


def descendants(pid: int) -> list[int]:
    """The processes below `pid`."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [*children, *(below for child in children for below in descendants(child))]


def named(pids: list[int], name: str) -> int:
    """The one of them whose command line starts so."""
    [found] = [pid for pid in pids if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(name.encode())]
    return found
