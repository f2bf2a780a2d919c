"""What a run writes down as it goes: one JSON object a line, and a progress bar."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


@dataclass(frozen=True, slots=True)
class Point:
    """The mean loss since the last point, and the phase it was measured in; `tokens` were read in all."""

    phase: str
    step: int
    loss: float
    learning_rate: float = 0.0
    grad_norm: float = 0.0
    tokens: int = 0
    seconds: float = 0.0
    """Since the run began or went on."""


class Journal(TrainerCallback):
    """Appends a point to a file at each log. A run that goes on first drops what it will do again."""

    def __init__(self, path: Path, phase_at: Callable[[int], str], console: Console) -> None:
        self.points: list[Point] = []
        self.tokens: Callable[[], int] = lambda: 0
        """How many tokens were read since the run began or went on."""
        self._path = path
        self._phase_at = phase_at
        self._began = time.monotonic()
        self._read_before = 0
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
        )
        self._task = self._bar.add_task("training", total=None)

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002  # these and those below: the trainer passes them by name
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,  # and all else that it has
    ) -> None:
        known = read_points(self._path) if self._path.exists() else []
        self.points = [point for point in known if point.step <= state.global_step]
        if not state.is_world_process_zero:
            return
        self._path.write_bytes(b"".join(map(_line, self.points)))
        self._read_before = self.points[-1].tokens if self.points else 0
        self._began = time.monotonic()
        self._bar.update(self._task, total=state.max_steps, completed=state.global_step)
        self._bar.start()

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        self._bar.update(self._task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        rate, norm = (float(logs.get(name, 0.0)) for name in ("learning_rate", "grad_norm"))
        read, seconds = self.tokens(), time.monotonic() - self._began
        step = state.global_step
        tokens = self._read_before + read
        point = Point(self._phase_at(step), step, float(logs["loss"]), rate, norm, tokens, round(seconds, 2))
        self.points.append(point)
        with self._path.open("ab") as file:
            file.write(_line(point))
        told = f"loss {point.loss:.3f} · {read / max(seconds, 1e-9):,.0f} tokens/s"
        self._bar.update(self._task, description=told)

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **_: Any,
    ) -> None:
        self._bar.stop()


def read_points(path: Path) -> list[Point]:
    """The points of a journal; a last line that was cut off by a kill is left out."""
    lines = path.read_bytes().splitlines(keepends=True)
    return [Point(**orjson.loads(line)) for line in lines if line.endswith(b"\n")]


def _line(point: Point) -> bytes:
    return orjson.dumps(asdict(point)) + b"\n"
