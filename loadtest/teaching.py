"""Both sides of the synthesis benchmark, each in a process of its own: our pipeline, and vLLM's offline class."""

import asyncio
import os
import tempfile
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

from loadtest.workload import OPENERS, THINGS, seeded
from models.renderer import Turn, load_renderer
from models.synthesis.dialogues import build_tasks
from models.synthesis.generation import Generation
from models.synthesis.instructions import Fields
from models.synthesis.pipeline.journal import Journal
from models.synthesis.pipeline.ledger import Ledger
from models.synthesis.pipeline.run import run
from models.synthesis.pipeline.sources import SourceRow
from models.synthesis.pipeline.task import Asking, Task, carry_out
from models.synthesis.playing import Casting
from models.synthesis.portraits import imagine_portrait
from models.synthesis.teachers.local import LocalTeacher
from models.synthesis.teachers.opening import TeacherOptions, open_teacher
from models.synthesis.teachers.teacher import Answer, Question, Teacher

CHARACTERS = 200
TEMPERATURE = 0.8


@dataclass(frozen=True, slots=True)
class Work:
    """What both sides do in a round."""

    model: str
    max_model_len: int
    rows: int
    max_tokens: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Round:
    """What a side did in one: rows, tokens of the replies, seconds."""

    rows: int
    tokens: int
    wall_s: float

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.wall_s


def build_casting(number: int) -> Casting:
    """Characters of the grammar's, others in each round, so that no prompt is in the cache already."""
    portraits = (imagine_portrait(seeded(number * CHARACTERS + place)) for place in range(CHARACTERS))
    rows = {
        f"{place}": {"persona": persona, "profile": profile.model_dump()}
        for place, (persona, profile) in enumerate(portraits)
    }
    return Casting(rows)


def build_round(work: Work, number: int, casting: Casting) -> tuple[list[Task], Generation]:
    """The tasks of a round, and who does them."""
    random = seeded(number)
    tasks: list[Task] = []
    for place in range(work.rows):
        asked = random.choice(OPENERS).format(random.choice(THINGS))
        row = SourceRow(f"{place}", {"instruction": asked})
        tasks += build_tasks(row, "lines", casting, Fields(), count=1, seed=number)
    return tasks, Generation(casting, TEMPERATURE, number, work.max_tokens)


class Recorder:
    """A teacher that keeps what it is asked, for somebody else to answer."""

    def __init__(self, teacher: LocalTeacher) -> None:
        self.model, self.max_model_len, self.count = teacher.model, teacher.max_model_len, teacher.count
        self.asked: list[Question] = []

    async def answer(self, question: Question) -> Answer:
        self.asked.append(question)
        return Answer(".", 1)

    async def close(self) -> None:
        pass


async def record(work: Work, number: int, renderer: Any) -> list[Question]:  # any Renderer
    """The questions of a round, as our pipeline asks them."""
    tasks, writer = build_round(work, number, build_casting(number))
    stand_in = _Unopened(work.model, work.max_model_len, renderer)
    recorder = Recorder(LocalTeacher(stand_in))  # type: ignore[arg-type]  # of an engine it needs these three
    for task in tasks:
        await writer.write(task, Asking(recorder, 1))
    return recorder.asked


@dataclass(frozen=True, slots=True)
class _Unopened:
    model: str
    max_model_len: int
    renderer: Any  # any Renderer


def serve_ours(work: Work, pipe: Connection) -> None:
    """A process that does each round whose number it is sent, and sends its figures back."""
    asyncio.run(_serve_ours(work, pipe))


async def _serve_ours(work: Work, pipe: Connection) -> None:
    teacher = await open_teacher(
        TeacherOptions(work.model, max_model_len=work.max_model_len, concurrency=work.concurrency)
    )
    with tempfile.TemporaryDirectory(prefix="opencharacter-synthesis-") as folder:
        pipe.send("ready")
        while (number := await asyncio.to_thread(pipe.recv)) is not None:
            pipe.send(await run_ours(work, number, teacher, Path(folder) / f"{number}.jsonl"))
    await teacher.close()


async def run_ours(work: Work, number: int, teacher: Teacher, out: Path) -> Round:
    """A round through the pipeline; raises where a row is missing at its end."""
    casting = build_casting(number)
    began = perf_counter()
    tasks, writer = build_round(work, number, casting)
    with Journal(out) as journal:
        ledger = Ledger(journal, total=len(tasks), stop_after=len(tasks))
        do = partial(carry_out, writer=writer, teacher=teacher, tries=1)
        await run(lambda: tasks, do, ledger, window=work.concurrency)
    wall_s = perf_counter() - began
    if ledger.done != work.rows:
        raise RuntimeError(f"{ledger.done} rows of {work.rows}")
    return Round(ledger.done, ledger.tokens, wall_s)


def serve_theirs(work: Work, pipe: Connection) -> None:
    """The same with vLLM's offline class, whose prompts are ready before the clock starts."""
    for name, value in (("VLLM_CPU_KVCACHE_SPACE", "1"), ("VLLM_NO_USAGE_STATS", "1"), ("VLLM_LOGGING_LEVEL", "ERROR")):
        os.environ.setdefault(name, value)
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    from vllm import LLM, SamplingParams
    from vllm.platforms import current_platform

    renderer = load_renderer(work.model)
    on_cpu = current_platform.is_cpu()
    same: dict[str, Any] = {"block_size": 32, "enable_chunked_prefill": False} if on_cpu else {}
    llm = LLM(
        work.model,
        max_model_len=work.max_model_len,
        max_num_seqs=work.concurrency,
        enforce_eager=on_cpu,
        enable_prefix_caching=True,
        generation_config="vllm",
        **same,
    )
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        asked = asyncio.run(record(work, number, renderer))
        rendered = [
            renderer.render([Turn(line.role, renderer.encode(line.text)) for line in one.messages]) for one in asked
        ]
        prompts: list[Any] = [{"prompt_token_ids": token_ids} for token_ids in rendered]
        params = [
            SamplingParams(
                max_tokens=one.max_tokens,
                temperature=one.temperature,
                seed=one.seed,
                stop_token_ids=list(renderer.stop_token_ids),
            )
            for one in asked
        ]
        began = perf_counter()
        answers = llm.generate(prompts, params, use_tqdm=False)
        tokens = sum(len(answer.outputs[0].token_ids) for answer in answers)
        pipe.send(Round(len(answers), tokens, perf_counter() - began))
    # Or this process would wait for its engine to go by itself.
    llm.llm_engine.engine_core.shutdown()
