"""Starting servers to measure, and stopping exactly what was started."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from loadtest.cpu import ServerProcesses, find_processes

ROOT = Path(__file__).parent.parent
# The name under which vLLM's server is told to serve the model.
VLLM_NAME = "bench"
# What both servers get: how much memory the KV cache takes on a CPU. On a GPU it says nothing.
SHARED_ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}


class ServerFailedError(RuntimeError):
    """A server ended, or wasn't ready in time; the message ends with its last lines."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server. `ready_path` answers 200 once it can be used."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    port: int
    ready_path: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready."""

    launch: Launch
    processes: ServerProcesses


def launch_ours(
    model: str,
    *,
    data_dir: Path,
    max_model_len: int,
    stream_interval: int | None = None,
    extra: Mapping[str, str] | None = None,
) -> Launch:
    """Our server on a free port, with its own embedded Redis in `data_dir`."""
    port = free_port()
    environment = {
        **SHARED_ENVIRONMENT,
        "OPENCHARACTER_HOST": "127.0.0.1",
        "OPENCHARACTER_PORT": str(port),
        "OPENCHARACTER_DATA_DIR": str(data_dir),
        "OPENCHARACTER_MODEL": model,
        "OPENCHARACTER_MAX_MODEL_LEN": str(max_model_len),
        **({"OPENCHARACTER_STREAM_INTERVAL": str(stream_interval)} if stream_interval else {}),
        **(extra or {}),
    }
    return Launch("ours", [sys.executable, "-m", "app", "serve"], environment, port, "/ready")


def launch_vllm(
    model: str, *, max_model_len: int, stream_interval: int | None = None, eager: bool, extra: Sequence[str] = ()
) -> Launch:
    """vLLM's own Python server as its users start it: statistics and access log on, which are its defaults."""
    port = free_port()
    argv = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--model", model, "--served-model-name", VLLM_NAME, "--max-model-len", str(max_model_len)]
    argv += ["--enable-prompt-tokens-details", *(["--enforce-eager"] if eager else []), *extra]
    if stream_interval:
        argv += ["--stream-interval", str(stream_interval)]
    return Launch("vLLM's", argv, SHARED_ENVIRONMENT, port, "/health")


@contextmanager
def running(launch: Launch, log: Path, *, timeout_s: float = 600.0) -> Iterator[Server]:
    """The server, ready; its output goes to `log`. On exit it and every process it started are gone.

    Raises ServerFailedError.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            launch.argv,
            cwd=ROOT,
            env={**_clean_environment(), **launch.environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_ready(launch, process, log, timeout_s)
        yield Server(launch, find_processes(process.pid, launch.port))
    finally:
        stop(process)


def stop(process: "subprocess.Popen[bytes]", grace_s: float = 20.0) -> None:
    """Ask the process to stop, then kill what is left of it and of what it started, by process id."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(children, timeout=2)
    for child in alive:
        child.kill()
    psutil.wait_procs(alive, timeout=5)


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _clean_environment() -> dict[str, str]:
    """The caller's environment, without settings of ours that would make a run unlike the next one."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OPENCHARACTER_")}


def _wait_ready(launch: Launch, process: "subprocess.Popen[bytes]", log: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    with httpx.Client(base_url=launch.url, trust_env=False, timeout=5) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServerFailedError(f"{launch.name} server ended with {process.returncode}:\n{_tail(log)}")
            try:
                if client.get(launch.ready_path).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
    raise ServerFailedError(f"{launch.name} server wasn't ready in {timeout_s:g} s:\n{_tail(log)}")


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
