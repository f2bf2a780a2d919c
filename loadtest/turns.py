"""One turn against a server: send it, time-stamp its frames as they arrive, say what went wrong.

Kinds of failure: `http_<status>`, `stream_<code>` (an error frame), `truncated` (no `[DONE]`), `malformed` (frames that
aren't OpenAI's), `connect`, `timeout`, or the name of httpx's exception.
"""

import asyncio
from time import perf_counter

import httpx
import orjson

from loadtest.chats import Chat, Request
from loadtest.sample import OpenSample, TurnSample
from loadtest.sse import DONE, FrameReader


async def open_chat(client: httpx.AsyncClient, chat: Chat, intended_s: float, timeout_s: float) -> OpenSample | None:
    """Make the session where the API has such a request; None where it hasn't."""
    request = chat.open()
    if request is None:
        return None
    error: str | None = None
    try:
        async with asyncio.timeout(timeout_s):
            response = await client.post(request.path, content=orjson.dumps(request.body), headers=_headers(request))
        if response.is_success:
            chat.opened(response.json())
        else:
            error = f"http_{response.status_code}"
    except (httpx.HTTPError, TimeoutError) as failure:
        error = _kind(failure)
    except (ValueError, KeyError, TypeError):
        error = "malformed"
    return OpenSample(intended_s, perf_counter(), error)


async def take_turn(
    client: httpx.AsyncClient, chat: Chat, line: str, sample: TurnSample, timeout_s: float
) -> TurnSample:
    """Say `line`, fill `sample` with what came back, and let `chat` hear the reply. Never raises for a failed turn."""
    request = chat.say(line)
    body = orjson.dumps(request.body)
    sample.sent_s = perf_counter()
    try:
        async with asyncio.timeout(timeout_s):
            async with client.stream("POST", request.path, content=body, headers=_headers(request)) as response:
                if response.is_success:
                    await _read(response, sample)
                else:
                    sample.error = f"http_{response.status_code}"
                    sample.detail = (await response.aread()).decode(errors="replace")[:500]
    except (httpx.HTTPError, TimeoutError) as failure:
        sample.error = _kind(failure)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        sample.error = "malformed"
    sample.ended_s = sample.ended_s or perf_counter()
    if sample.ok:
        chat.heard(line, sample.reply)
    return sample


async def _read(response: httpx.Response, sample: TurnSample) -> None:
    reader, texts, done = FrameReader(), [], False
    async for data in response.aiter_raw():
        now = perf_counter()
        for payload in reader.feed(data):
            if payload == DONE:
                done, sample.ended_s = True, now
                continue
            frame = orjson.loads(payload)
            if frame.get("error"):
                sample.error = f"stream_{frame['error'].get('code') or frame['error'].get('type')}"
                sample.detail = str(frame["error"].get("message"))[:500]
            for choice in frame.get("choices", ()):
                text = choice["delta"].get("content")
                if text:
                    sample.frames_s.append(now)
                    texts.append(text)
            if usage := frame.get("usage"):
                sample.prompt_tokens = usage["prompt_tokens"]
                sample.completion_tokens = usage["completion_tokens"]
                sample.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    sample.reply = "".join(texts)
    if sample.ok and not done:
        sample.error = "truncated"
    elif sample.ok and not sample.prompt_tokens:
        sample.error = "malformed"


def _headers(request: Request) -> dict[str, str]:
    return {"content-type": "application/json", **request.headers}


def _kind(failure: Exception) -> str:
    if isinstance(failure, (TimeoutError, httpx.TimeoutException)):
        return "timeout"
    return "connect" if isinstance(failure, httpx.ConnectError) else type(failure).__name__
