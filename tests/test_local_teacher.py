"""A teacher in this process: an engine of ours, asked for many answers at a time, whose faults cost a row at most."""

import asyncio
from typing import Any

import pytest

from models.engine import EngineDeadError, EngineError, InvalidRequest
from models.renderer import Renderer
from models.synthesis.teachers import opening
from models.synthesis.teachers.local import LocalTeacher
from models.synthesis.teachers.opening import TeacherOptions, open_teacher
from models.synthesis.teachers.teacher import Line, Question, QuestionRefused, TeacherDead, TeacherFailed
from tests.fake_engine import FakeEngine, Script

pytestmark = pytest.mark.anyio

MESSAGES = [Line("system", "You are Marta."), Line("user", "Who are you?")]


async def test_prompt_is_rendered_as_for_serving(renderer: Renderer) -> None:
    engine = FakeEngine(renderer, Script(says=("I am Marta.",)))
    teacher = LocalTeacher(engine)
    answer = await teacher.answer(Question(MESSAGES, 100, 0.5, 7, {"type": "object"}))
    assert (answer.text, answer.is_cut) == ("I am Marta.", False)
    assert answer.tokens == len(renderer.encode("I am Marta.")) + 1
    assert len(engine.prompts[0]) == teacher.count(MESSAGES)
    assert "You are Marta.<|eot_id|>" in renderer.decode(engine.prompts[0])
    params = engine.params[0]
    assert (params.max_tokens, params.temperature, params.seed) == (100, 0.5, 7)
    assert params.constraint is not None
    assert params.constraint.json_schema == {"type": "object"}


async def test_answer_has_the_room_that_the_prompt_leaves(renderer: Renderer) -> None:
    engine = FakeEngine(renderer, max_model_len=200)
    teacher = LocalTeacher(engine)
    await teacher.answer(Question(MESSAGES, 4096, 0.5, 7))
    assert engine.params[0].max_tokens == 200 - teacher.count(MESSAGES)
    with pytest.raises(QuestionRefused, match="context of 200"):
        await teacher.answer(Question([Line("user", "word " * 500)], 10, 0.5, 7))


async def test_many_are_answered_at_a_time(renderer: Renderer) -> None:
    engine = FakeEngine(renderer, Script(hold_after=1))
    teacher = LocalTeacher(engine)
    asked = [asyncio.create_task(teacher.answer(Question(MESSAGES, 10, 0.5, seed))) for seed in range(20)]
    while len(engine.running) < 20:
        await asyncio.sleep(0)
    engine.go.set()
    assert len({answer.text for answer in await asyncio.gather(*asked)}) == 1


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (EngineError("this one failed"), TeacherFailed),
        (EngineDeadError("killed"), TeacherDead),
        (InvalidRequest("no such schema"), QuestionRefused),
    ],
)
async def test_faults_of_the_engine_are_told_apart(renderer: Renderer, failure: Any, error: type[Exception]) -> None:
    engine = FakeEngine(renderer, Script(fail_after=0, failure=failure))
    with pytest.raises(error, match=str(failure)):
        await LocalTeacher(engine).answer(Question(MESSAGES, 10, 0.5, 7))
    assert len(engine.prompts) == (3 if error is TeacherFailed else 1)


async def test_schema_may_take_its_time_to_compile(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}

    async def open_engine(_: str, **options: Any) -> FakeEngine:
        told.update(options)
        return FakeEngine(renderer)

    monkeypatch.setattr(opening, "open_vllm_engine", open_engine)
    await open_teacher(TeacherOptions("models/tiny", concurrency=7, gpus=8))
    assert told["compile_s"] >= 60
    assert (told["max_num_seqs"], told["tensor_parallel_size"]) == (7, 8)
