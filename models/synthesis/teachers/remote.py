"""A teacher behind an OpenAI-compatible server, over httpx: patient with one that is busy, clear about one that isn't.

What may pass by itself (429, 5xx, a timeout, a broken connection, an answer that is none) is asked again after a pause.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any

import httpx
import orjson

from models.synthesis.teachers.teacher import Answer, Line, Question, QuestionRefused, TeacherDead, TeacherFailed

# Longer answers than this are no answers.
MOST_ANSWER_BYTES = 8 << 20
CONNECT_S = 10.0
# The first pause, doubled each time up to the longest; a server that names one gets it, within bounds.
FIRST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_ASKED_S = 0.5, 30.0, 120.0
PASSING = (408, 409, 425, 429)
NOT_FOR_US = (401, 403, 404, 405)
# Of what a server says about an error.
MOST_TOLD = 300
# What a template puts around a message, in tokens, at most.
AROUND_A_MESSAGE = 16


class RemoteTeacher:
    """See `models.synthesis.teachers.teacher.Teacher`. `url` ends with `/v1`."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        max_model_len: int = 8192,
        timeout_s: float = 300.0,
        attempts: int = 6,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self.model = model
        self.max_model_len = max_model_len
        self._attempts = attempts
        self._first_pause_s = first_pause_s
        self._random = Random(url)
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.AsyncClient(
            base_url=url,
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_S, pool=None),
            # The system's certificates take a while to read.
            verify=url.startswith("https:"),
            # As many as are asked at a time: the run bounds it.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        )

    def count(self, messages: Sequence[Line]) -> int:
        # Its tokenizer isn't known; a token stands for a byte at least.
        return sum(len(line.text.encode()) + AROUND_A_MESSAGE for line in messages) + AROUND_A_MESSAGE

    async def answer(self, question: Question) -> Answer:
        body = orjson.dumps(self._body(question))
        for attempt in range(1, self._attempts + 1):
            asked_s = None
            try:
                status, headers, raw = await self._post(body)
                if status == httpx.codes.OK:
                    return parse_answer(raw)
                _check_status(status, raw)
                trouble = f"it answers {status}: {_told(raw)}"
                asked_s = _retry_after(headers)
            except (httpx.HTTPError, ValueError) as error:
                trouble = str(error) or type(error).__name__
            if attempt < self._attempts:
                await asyncio.sleep(self._pause_s(attempt, asked_s))
        raise TeacherFailed(trouble)

    async def close(self) -> None:
        await self._client.aclose()

    def _body(self, question: Question) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": line.role, "content": line.text} for line in question.messages],
            "max_tokens": question.max_tokens,
            "temperature": question.temperature,
            "seed": question.seed,
        }
        if question.top_p < 1:
            body["top_p"] = question.top_p
        if question.schema:
            schema = {"name": "answer", "strict": True, "schema": question.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    async def _post(self, body: bytes) -> tuple[int, httpx.Headers, bytes]:
        """Status, headers and body. Raises httpx's errors, and ValueError for a body without an end."""
        headers = {"content-type": "application/json"}
        async with self._client.stream("POST", "/chat/completions", content=body, headers=headers) as response:
            parts, size = [], 0
            async for part in response.aiter_bytes():
                parts.append(part)
                size += len(part)
                if size > MOST_ANSWER_BYTES:
                    raise ValueError(f"an answer of more than {MOST_ANSWER_BYTES >> 20} MiB")
            return response.status_code, response.headers, b"".join(parts)

    def _pause_s(self, attempt: int, asked_s: float | None) -> float:
        """How long to wait after a failed attempt; never in step with the others that wait."""
        if asked_s is not None:
            return min(asked_s, LONGEST_ASKED_S)
        doubled = self._first_pause_s * 2.0 ** (attempt - 1)
        return min(doubled, LONGEST_PAUSE_S) * self._random.uniform(0.5, 1.0)


def parse_answer(raw: bytes) -> Answer:
    """The answer in a body of OpenAI's chat API. Raises ValueError for anything else, QuestionRefused by a filter."""
    try:
        answer = orjson.loads(raw)
        choice = answer["choices"][0]
        text, reason = choice["message"].get("content") or "", choice.get("finish_reason")
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError("the answer is none of a chat API") from error
    if reason == "content_filter":
        raise QuestionRefused("its content filter holds the answer back")
    if not isinstance(text, str):
        raise ValueError("the answer's content is no text")
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    prompt_tokens, tokens = (_count(counts.get(name)) for name in ("prompt_tokens", "completion_tokens"))
    return Answer(text, tokens, reason == "length", prompt_tokens)


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _check_status(status: int, raw: bytes) -> None:
    """Return where another attempt may help. Raises TeacherDead or QuestionRefused."""
    if status in NOT_FOR_US or status < 400:
        raise TeacherDead(f"the teacher answers {status}: {_told(raw)}: check --url, --model and the key")
    if status not in PASSING and status < 500:
        raise QuestionRefused(f"it answers {status}: {_told(raw)}")


def _told(raw: bytes) -> str:
    """What an error's body says, in a line."""
    text = raw[: 4 * MOST_TOLD].decode(errors="replace")
    with suppress(ValueError, KeyError, TypeError):
        text = str(orjson.loads(raw)["error"]["message"])
    return " ".join(text.split())[:MOST_TOLD]


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to be left alone for; its date form counts as none."""
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None
