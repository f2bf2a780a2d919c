"""A teacher over a real socket whose answers depend on the question alone, and whose faults are scripted."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from characters.profile import LABELS

Body = dict[str, Any]
# What is sent in place of an answer: a status with a text, bytes of a body, `hang` or `drop`; None is an answer.
Fault = tuple[int, str] | bytes | str | None


@dataclass
class FakeTeacher:
    """See `serve_teacher`. `fault` is asked about each request, by its number from 0 on; `reply` writes the answers."""

    url: str = ""
    asked: list[Body] = field(default_factory=list)
    fault: Callable[[int, Body], Fault] = lambda _number, _body: None
    reply: Callable[[Body], str] = lambda body: answer(body)
    gap_s: float = 0.0
    most_at_a_time: int = 0
    go: threading.Event = field(default_factory=threading.Event)

    def was_asked(self, times: int) -> bool:
        return len(self.asked) >= times


def answer(body: Body) -> str:
    """What a good teacher says: the same to the same question."""
    told = body["messages"][-1]["content"]
    mark = hashlib.sha256(json.dumps([body["messages"], body["seed"]]).encode()).hexdigest()[:8]
    if "response_format" not in body:
        return f"It is {mark}, I say, and I have seen it with my own eyes."
    properties = body["response_format"]["json_schema"]["schema"]["properties"]
    if "verdict" in properties:
        return json.dumps({"verdict": "keep"})
    if "user_1" in properties:
        before = json.loads(told.partition("# Dialogue\n")[2])
        return json.dumps({key: text if key.startswith("user") else f"{mark}, I say." for key, text in before.items()})
    return json.dumps({label: f"{label} {mark}"[:12] for label in LABELS})


@contextmanager
def serve_teacher(given: FakeTeacher | None = None) -> Iterator[FakeTeacher]:
    """Serve OpenAI's chat API on a free port, and stop at exit."""
    teacher = given or FakeTeacher()
    lock, running = threading.Lock(), 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:  # the base class' name
            nonlocal running
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                number = len(teacher.asked)
                teacher.asked.append(body)
                running += 1
                teacher.most_at_a_time = max(running, teacher.most_at_a_time)
            try:
                time.sleep(teacher.gap_s)
                self._answer(teacher.fault(number, body), body)
            finally:
                with lock:
                    running -= 1

        def _answer(self, fault: Fault, body: Body) -> None:
            match fault:
                case "hang":
                    teacher.go.wait(30)
                    self.close_connection = True
                case "drop":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                case (status, text):
                    self._send(int(status), json.dumps({"error": {"message": text}}).encode())
                case bytes():
                    self._send(200, fault)
                case _:
                    said = {"message": {"content": teacher.reply(body)}, "finish_reason": "stop"}
                    self._send(200, json.dumps({"choices": [said], "usage": {"completion_tokens": 7}}).encode())

        def _send(self, status: int, raw: bytes) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """Clients that were killed are no news."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    teacher.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield teacher
    finally:
        teacher.go.set()
        server.shutdown()
        server.server_close()
        thread.join()
