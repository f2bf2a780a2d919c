"""The load generator against a real server whose timings are known."""

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import uvicorn

from loadtest.chats import HeaderChat, Sampling, SessionChat, TranscriptChat
from loadtest.closedloop import run_closed_loop
from loadtest.cpu import cpu_between, find_processes
from loadtest.openloop import run_open_loop
from loadtest.rounds import Round
from loadtest.sample import Run, TurnSample
from loadtest.servers import Launch, ServerFailedError, free_port, running
from loadtest.sse import FrameReader
from loadtest.summary import Slo, summarize
from loadtest.transport import WireTransport
from loadtest.turns import take_turn
from loadtest.verdict import LABELS, comparison_table, failed_targets
from loadtest.workload import build_plans, parse_mix

ROOT = Path(__file__).parent.parent
FIRST_S, GAP_S, TOKENS = 0.06, 0.02, 8
SLO = Slo(ttft_ms=1000, tpot_ms=200)

# An ASGI application's arguments are dictionaries that the specification leaves open.
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class FakeServer:
    """Streams TOKENS words, the first after FIRST_S, one each GAP_S; the line `fail …` asks for a failure."""

    def __init__(self) -> None:
        self.running = 0
        self.most_running = 0
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[bytes, bytes]] = []
        self.url = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
        self.bodies.append(body)
        self.headers.append(dict(scope["headers"]))
        if scope["path"] == "/sessions":
            await _answer(send, 201, {"id": "s1", "messages": []})
            return
        line = body["content"] if "content" in body else body["messages"][-1]["content"]
        if line == "fail 503":
            await _answer(send, 503, {"error": {"message": "full", "type": "x", "param": None, "code": "overloaded"}})
            return
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self._stream(send, line)
        finally:
            self.running -= 1

    async def _stream(self, send: Send, line: str) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _frame(send, {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        await send({"type": "http.response.body", "body": b": keep-alive\n\n", "more_body": True})
        await asyncio.sleep(FIRST_S)
        for number in range(TOKENS):
            if number == 2 and line == "fail frame":
                await _frame(send, {"error": {"message": "the engine has died", "code": "engine_dead"}})
            if number == 2 and line == "fail cut":
                await send({"type": "http.response.body", "body": b""})
                return
            await _frame(send, {"choices": [{"index": 0, "delta": {"content": f"w{number} "}}]})
            await asyncio.sleep(GAP_S)
        details = {"cached_tokens": 75}
        usage = {"prompt_tokens": 100, "completion_tokens": TOKENS, "prompt_tokens_details": details}
        await _frame(send, {"choices": [], "usage": usage})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def _body(receive: Receive) -> dict[str, Any]:
    data, more = b"", True
    while more:
        message = await receive()
        data, more = data + message.get("body", b""), message.get("more_body", False)
    body: dict[str, Any] = json.loads(data)
    return body


async def _answer(send: Send, status: int, value: object) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def _frame(send: Send, value: object) -> None:
    await send({"type": "http.response.body", "body": b"data: %s\n\n" % json.dumps(value).encode(), "more_body": True})


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    listener = socket.create_server(("127.0.0.1", 0))
    fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    running = uvicorn.Server(uvicorn.Config(fake, log_level="error", lifespan="off"))
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    yield fake
    running.should_exit = True
    thread.join()
    listener.close()


def client_of(server: FakeServer) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, transport=WireTransport())


def open_loop(server: FakeServer, *, sessions: int, rate: float, turns: int = 1, stall_s: float = 0.0) -> Run:
    plans = build_plans(sessions=sessions, rate=rate, turns=turns, think_s=0.0, mix=parse_mix("lyra"), seed=1)

    async def run() -> Run:
        async with client_of(server) as client:
            if stall_s:
                asyncio.get_running_loop().call_later(0.01, time.sleep, stall_s)
            return await run_open_loop(client, plans, lambda character: SessionChat(character, Sampling()), 30)

    return asyncio.run(run())


def one_turn(server: FakeServer, line: str) -> TurnSample:
    async def run() -> TurnSample:
        async with client_of(server) as client:
            now = time.perf_counter()
            sample = TurnSample(0, 0, "lyra", now, now)
            return await take_turn(client, TranscriptChat("lyra", Sampling(), []), line, sample, 30)

    return asyncio.run(run())


def test_turn_times_are_those_of_the_server(server: FakeServer) -> None:
    figures = summarize(open_loop(server, sessions=4, rate=50), SLO)
    first_ms, gap_ms = FIRST_S * 1e3, GAP_S * 1e3
    assert 0.9 * first_ms <= figures["ttft_ms"]["p50"] < first_ms + 400
    # The mean: a client that was held up finds several frames at once, with gaps of 0 between them.
    assert 0.5 * gap_ms <= figures["itl_ms"]["mean"] < gap_ms + 100
    assert figures["itl_ms"]["count"] == 4 * (TOKENS - 1)
    # The fake pauses after its last word too, so TPOT spreads TOKENS pauses over TOKENS - 1 tokens.
    assert 0.9 * gap_ms * TOKENS / (TOKENS - 1) <= figures["tpot_ms"]["p50"] < gap_ms + 100
    assert 0.9 * (first_ms + TOKENS * gap_ms) <= figures["e2e_ms"]["p50"]


def test_usage_gives_tokens_and_cached_share(server: FakeServer) -> None:
    figures = summarize(open_loop(server, sessions=3, rate=50, turns=2), SLO)
    assert figures["completion_tokens"] == 3 * 2 * TOKENS
    assert figures["cached_share"] == pytest.approx(0.75)
    assert figures["tokens_per_frame"] == pytest.approx(1.0)
    assert [row["turn"] for row in figures["by_turn"]] == [0, 1]
    assert figures["output_tokens_per_s"] == pytest.approx(48 / figures["wall_s"])
    assert figures["goodput"]["share"] == 1.0


def test_arrivals_do_not_wait_for_the_server(server: FakeServer) -> None:
    open_loop(server, sessions=10, rate=500)
    assert server.most_running >= 5


def test_late_client_shows_as_lag_and_in_every_latency(server: FakeServer) -> None:
    figures = summarize(open_loop(server, sessions=5, rate=100, stall_s=0.4), SLO)
    assert figures["send_lag_ms"]["max"] + figures["session_open_ms"]["max"] > 300


def test_lag_counts_into_ttft_from_the_intended_send(server: FakeServer) -> None:
    sample = one_turn(server, "hello")
    sample.intended_s -= 1.0
    run = Run([sample], [], 1, sample.intended_s, sample.ended_s, 0.0)
    figures = summarize(run, SLO)
    assert figures["ttft_ms"]["p50"] - figures["ttft_from_send_ms"]["p50"] == pytest.approx(1000, abs=50)
    assert figures["goodput"]["share"] == 0.0


@pytest.mark.parametrize(
    ("line", "kind"), [("fail 503", "http_503"), ("fail frame", "stream_engine_dead"), ("fail cut", "truncated")]
)
def test_failed_turns_are_counted_by_kind(server: FakeServer, line: str, kind: str) -> None:
    sample = one_turn(server, line)
    figures = summarize(Run([sample], [], 1, sample.intended_s, sample.ended_s, 0.0), SLO)
    assert figures["errors"] == {kind: 1}
    assert figures["turns_ok"] == 0
    assert figures["ttft_ms"] == {"count": 0}


def test_server_that_is_not_there_is_a_connect_error() -> None:
    fake = FakeServer()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert one_turn(fake, "hello").error == "connect"


def test_transcript_carries_the_conversation_so_far(server: FakeServer) -> None:
    async def run() -> None:
        async with client_of(server) as client:
            await run_closed_loop(
                client,
                lambda character: TranscriptChat(character, Sampling(), [{"role": "system", "content": "Be Lyra."}]),
                streams=1,
                chats=1,
                turns=2,
                mix=parse_mix("lyra"),
                seed=0,
            )

    asyncio.run(run())
    roles = [message["role"] for message in server.bodies[1]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert server.bodies[1]["messages"][2]["content"] == "".join(f"w{number} " for number in range(TOKENS))


def test_header_chat_sends_one_line_and_a_session() -> None:
    chat = HeaderChat("lyra", Sampling(ignore_eos=True, min_tokens=8, max_tokens=8))
    first, second = chat.say("a"), chat.say("b")
    assert first.headers == second.headers
    assert second.body["messages"] == [{"role": "user", "content": "b"}]
    assert (second.body["ignore_eos"], second.body["min_tokens"], second.body["max_tokens"]) == (True, 8, 8)


def test_connections_are_kept_alive(server: FakeServer) -> None:
    async def run() -> int:
        transport = WireTransport()
        async with httpx.AsyncClient(base_url=server.url, transport=transport) as client:
            for _ in range(3):
                assert (await client.post("/sessions", json={})).json()["id"] == "s1"
            return len(transport._idle)

    assert asyncio.run(run()) == 1


def test_plans_repeat_for_a_seed_and_arrive_at_the_rate() -> None:
    options: dict[str, Any] = {"sessions": 2000, "rate": 4.0, "turns": 2, "think_s": 1.0, "mix": parse_mix("a:3,b")}
    plans = build_plans(**options, seed=5)
    assert plans == build_plans(**options, seed=5)
    assert plans[-1].arrival_s == pytest.approx(500, rel=0.1)
    assert sum(plan.character == "a" for plan in plans) / len(plans) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("text", ["", "lyra:0", "lyra:x", ":2", "lyra:nan"])
def test_bad_mix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="character"):
        parse_mix(text)


def test_frames_come_whole_whatever_the_pieces() -> None:
    stream = b'data: {"a": 1}\n\n: comment\n\ndata: {"b": "\xc3\xa9"}\r\n\r\ndata: [DONE]\n\n'
    rng = random.Random(0)
    for _ in range(50):
        reader, payloads, rest = FrameReader(), [], stream
        while rest:
            size = rng.randint(1, 9)
            payloads += reader.feed(rest[:size])
            rest = rest[size:]
        assert payloads == [b'{"a": 1}', b'{"b": "\xc3\xa9"}', b"[DONE]"]


def test_cpu_is_told_apart_by_process() -> None:
    burn = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass', 'VLLM::EngineCore'])"
    parent = subprocess.Popen([sys.executable, "-c", burn], start_new_session=True)
    try:
        deadline = time.monotonic() + 10
        while "engine" not in (processes := find_processes(parent.pid)).roles.values():
            assert time.monotonic() < deadline
        before = processes.cpu_s()
        while (spent := cpu_between(before, processes.cpu_s()))["engine"] < 0.1:
            assert time.monotonic() < deadline
        assert spent["api"] < spent["engine"]
    finally:
        os.killpg(parent.pid, 9)
        parent.wait()


def figures_of(**changes: float) -> Round:
    base = dict.fromkeys(LABELS, 100.0)
    return {**base, **changes}


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"api_cpu_us_per_token": 50.0, "output_tokens_per_s": 98.0, "ttft_p50_ms": 103.0}, []),
        ({"api_cpu_us_per_token": 51.0}, ["api_cpu_us_per_token"]),
        ({"api_cpu_us_per_token": 40.0, "output_tokens_per_s": 97.0}, ["output_tokens_per_s"]),
        ({"api_cpu_us_per_token": 40.0, "ttft_single_p50_ms": 103.5}, ["ttft_single_p50_ms"]),
        ({"api_cpu_us_per_token": 40.0, "completion_tokens": 99.0}, ["completion_tokens"]),
    ],
)
def test_verdict_holds_each_target(changes: dict[str, float], failed: list[str]) -> None:
    assert failed_targets(figures_of(**changes), figures_of()) == failed
    assert comparison_table([figures_of(**changes)] * 3, [figures_of()] * 3, "t").row_count == len(LABELS)


SERVE = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def is_running(pid: int) -> bool:
    """Whether the process lives; one that nobody has reaped yet doesn't."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_server_is_ready_inside_and_gone_after_with_its_children(tmp_path: Path) -> None:
    port = free_port()
    launch = Launch("fake", [sys.executable, "-c", SERVE, str(port)], {}, port, "/")
    with running(launch, tmp_path / "log", timeout_s=20) as server:
        pids = server.processes.roles
        assert httpx.get(launch.url, trust_env=False).status_code == 200
        assert sorted(pids.values()) == ["api", "other"]
    assert [pid for pid in pids if is_running(pid)] == []


def test_server_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    launch = Launch("fake", [sys.executable, "-c", "raise SystemExit('no such model')"], {}, free_port(), "/")
    with pytest.raises(ServerFailedError, match="no such model"), running(launch, tmp_path / "log", timeout_s=20):
        pass


def test_command_writes_table_json_and_plot(server: FakeServer, tmp_path: Path) -> None:
    arguments = ["--url", server.url, "--sessions", "3", "--rate", "50", "--turns", "2", "--think-s", "0"]
    arguments += ["--server-pid", str(os.getpid()), "--api-key", "k" * 16]
    outputs = ["--json", str(tmp_path / "out.json"), "--plot", str(tmp_path / "out.png")]
    done = subprocess.run(
        [sys.executable, "-m", "loadtest", *arguments, *outputs],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "TTFT" in done.stdout
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["turns_ok"] == 6
    # Counted in ticks of 10 ms, and so few turns may cost less than one.
    assert figures["server_cpu_us_per_token"]["api"] >= 0
    assert "k" * 16 not in (tmp_path / "out.json").read_text()
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert server.headers[-1][b"authorization"] == b"Bearer " + b"k" * 16
