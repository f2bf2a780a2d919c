"""A teacher in this process: an engine of ours, which batches whatever is asked at the same time."""

import itertools
from collections.abc import Sequence
from contextlib import aclosing
from functools import lru_cache

from models.engine import Constraint, Engine, EngineDeadError, EngineError, InvalidRequest, SamplingParams
from models.renderer import Turn
from models.synthesis.teachers.teacher import Answer, Line, Question, QuestionRefused, TeacherDead, TeacherFailed

# Nobody reads along: one chunk for the whole answer.
WHOLE = 1 << 20
ATTEMPTS = 3
# Texts whose ids are kept.
MOST_ENCODED = 4096


class LocalTeacher:
    """See `models.synthesis.teachers.teacher.Teacher`. Closes the engine that it was given."""

    def __init__(self, engine: Engine) -> None:
        self.model = engine.model
        self.max_model_len = engine.max_model_len
        self._engine = engine
        self._numbers = itertools.count()
        # What is counted is rendered right after it, and what was said with each turn that follows.
        self._encode = lru_cache(MOST_ENCODED)(engine.renderer.encode)

    def count(self, messages: Sequence[Line]) -> int:
        return len(self._render(messages))

    async def answer(self, question: Question) -> Answer:
        prompt = self._render(question.messages)
        room = self.max_model_len - len(prompt)
        if room < 1:
            raise QuestionRefused(f"the prompt takes {len(prompt)} tokens of a context of {self.max_model_len}")
        params = SamplingParams(
            max_tokens=min(question.max_tokens, room),
            temperature=question.temperature,
            top_p=question.top_p,
            seed=question.seed,
            constraint=Constraint(json_schema=question.schema) if question.schema else None,
            stream_interval=WHOLE,
        )
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._generate(prompt, params)
            except EngineDeadError as error:
                raise TeacherDead(str(error)) from error
            except InvalidRequest as error:
                raise QuestionRefused(str(error)) from error
            except EngineError as error:
                if attempt == ATTEMPTS:
                    raise TeacherFailed(str(error)) from error
        raise AssertionError("the last attempt returns or raises")

    async def close(self) -> None:
        await self._engine.close()

    def _render(self, messages: Sequence[Line]) -> list[int]:
        return self._engine.renderer.render([Turn(line.role, self._encode(line.text)) for line in messages])

    async def _generate(self, prompt: list[int], params: SamplingParams) -> Answer:
        texts, tokens, reason = [], 0, None
        request_id = f"synthesis-{next(self._numbers)}"
        async with aclosing(self._engine.generate(prompt, params, request_id=request_id)) as chunks:
            async for chunk in chunks:
                texts.append(chunk.text)
                tokens += len(chunk.token_ids)
                reason = chunk.finish_reason
        return Answer("".join(texts), tokens, reason == "length", len(prompt))
