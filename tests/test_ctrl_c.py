"""Ctrl-C as a terminal sends it, to the server and all of its processes at once: replies end, and nothing is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REAL, ROOT, environment, free_port, is_running, run_server, wait_until
from tests.processes import create, descendants, listening, stored

# On an idle machine it takes two.
STOP_S = 6.0
NOISE = ("Traceback", "Exception ignored", "Error", "leaked", "KeyboardInterrupt", "CRITICAL")


def press_ctrl_c(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGINT)


def complaints(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if any(word in line for word in NOISE)]


def test_ctrl_c_lets_the_real_engine_end_its_reply(tmp_path: Path) -> None:
    with run_server(tmp_path) as server:
        session, family = create(server), descendants(server.process.pid)
        with listening(server, session, max_tokens=300, ignore_eos=True) as [listener]:
            press_ctrl_c(server.process)
            listener.wait_for_end()
        said = time.monotonic()
        assert server.process.wait(60) == 0
        assert time.monotonic() - said < STOP_S
    assert listener.lines[-1] == "data: [DONE]"
    assert stored(tmp_path, session)[0].branch()[-1].finish_reason == "length"
    assert complaints(server.log) == []
    wait_until(lambda: not any(map(is_running, family)), "all of the server's processes are gone")


@pytest.mark.parametrize("pause_s", [0.5, 3.0])
def test_ctrl_c_is_heard_while_the_engine_loads(tmp_path: Path, pause_s: float) -> None:
    log = tmp_path / "server.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *REAL],
            cwd=ROOT,
            env=environment(tmp_path, free_port()),
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    wait_until(lambda: "with vLLM" in log.read_text(), "vLLM begins to load", 120)
    time.sleep(pause_s)  # it loads for ten seconds and more: at different moments other processes are under way
    family = descendants(process.pid)
    press_ctrl_c(process)
    assert process.wait(2 * STOP_S) == 0
    assert complaints(log) == []
    wait_until(lambda: not any(map(is_running, family)), "all of the server's processes are gone")
