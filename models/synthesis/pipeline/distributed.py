"""The same on Ray Data: tasks go to workers on many machines, outcomes come back to be written here.

The only file that imports ray. What is done is decided and written by this process alone, so that a run on Ray resumes,
and is resumed, like any other. Tasks and outcomes travel as JSON.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np
import orjson
import ray
import ray.data
import ray.exceptions

from models.synthesis.pipeline.ledger import Ledger
from models.synthesis.pipeline.run import Tasks
from models.synthesis.pipeline.task import Outcome, Task, Writer, carry_out
from models.synthesis.teachers.opening import TeacherOptions, open_teacher
from models.synthesis.teachers.teacher import Stop

Batch = dict[str, Any]  # numpy arrays, by column

# Tasks of one batch for each that a worker does at a time: at its end the teacher runs dry.
ROUNDS = 8
# Tasks that are handed to Ray together.
SLICE = 200_000


class Worker:
    """A process with a teacher of its own, started once for all its batches."""

    def __init__(self, writer: Writer, options: TeacherOptions, tries: int) -> None:
        self._writer = writer
        self._tries = tries
        self._places = options.concurrency
        self._runner = asyncio.Runner()
        self._teacher = self._runner.run(open_teacher(options))

    def __call__(self, batch: Batch) -> Batch:
        """The outcomes of a batch of tasks, in their order."""
        tasks = [Task(**orjson.loads(raw)) for raw in batch["task"]]
        outcomes = self._runner.run(self._do(tasks))
        return {"outcome": np.array([orjson.dumps(asdict(one)).decode() for one in outcomes], dtype=object)}

    async def _do(self, tasks: list[Task]) -> list[Outcome]:
        places = asyncio.Semaphore(self._places)

        async def do(task: Task) -> Outcome:
            async with places:
                return await carry_out(task, self._writer, self._teacher, self._tries)

        return await asyncio.gather(*map(do, tasks))


def run_on_ray(
    tasks: Tasks, writer: Writer, options: TeacherOptions, ledger: Ledger, *, workers: int, tries: int
) -> None:
    """As `run` does, on `workers` processes: each with its GPUs, unless its teacher is remote or there is none.

    Raises Stop.
    """
    ray.init(ignore_reinit_error=True, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]  # it has types for most
    needs_gpu = options.url is None and resources.get("GPU", 0) > 0
    try:
        for is_last in (False, True):
            failed = frozenset(ledger.failed)
            ledger.failed.clear()
            left = (task for task in tasks() if not ledger.is_done(task.id) and (not is_last or task.id in failed))
            while part := [orjson.dumps(asdict(task)).decode() for task in islice(left, SLICE)]:
                for outcome in _outcomes(part, writer, options, workers, tries, needs_gpu=needs_gpu):
                    ledger.settle(outcome, is_last=is_last)
                    if ledger.is_due:
                        ledger.write(ledger.take())
    except ray.exceptions.RayError as error:
        raise Stop(f"Ray stopped: {_cause(error)}") from error
    finally:
        ledger.write(ledger.take())


def _outcomes(
    tasks: list[str], writer: Writer, options: TeacherOptions, workers: int, tries: int, *, needs_gpu: bool
) -> Iterator[Outcome]:
    size = max(1, min(options.concurrency * ROUNDS, -(-len(tasks) // workers)))
    rows = ray.data.from_items([{"task": task} for task in tasks], override_num_blocks=-(-len(tasks) // size))
    done = rows.map_batches(
        Worker,
        fn_constructor_args=(writer, options, tries),
        batch_size=size,
        concurrency=workers,
        num_gpus=options.gpus if needs_gpu else None,
    )
    for row in done.iter_rows():
        said = orjson.loads(row["outcome"])
        yield Outcome(**said | {"retried": tuple(said["retried"])})


def _cause(error: BaseException) -> str:
    with suppress(AttributeError):
        error = error.cause  # type: ignore[attr-defined]  # what the worker raised
    return str(error).strip().splitlines()[-1]
