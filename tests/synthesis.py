"""Asking a live server to write characters, and what its engine is made to say."""

import json
from typing import Any

import httpx

from characters.profile import LABELS
from tests.live import Live

SYNTHESIZE = "/characters/synthesize"
CONTEXT = 4096


def write(**changed: str) -> str:
    """A profile as a decoder writes it: every field `x` but those given."""
    return json.dumps({**dict.fromkeys(LABELS, "x"), **changed}, ensure_ascii=False, separators=(",", ":"))


def say(live: Live, *replies: str) -> None:
    """Let the engine answer with these, one for each choice that it is asked for."""
    live.engine.script.says = replies
    live.engine.replies = 0


def told(live: Live, number: int = -1) -> str:
    """The user's message of a prompt that the engine got."""
    prompt = live.engine.renderer.decode(live.engine.prompts[number])
    return prompt.split("<|start_header_id|>user<|end_header_id|>\n\n")[1].split("<|eot_id|>")[0]


def schema(live: Live) -> dict[str, Any]:
    """The properties that the engine was held to."""
    constraint = live.engine.params[-1].constraint
    assert constraint is not None
    assert constraint.json_schema is not None
    properties: dict[str, Any] = constraint.json_schema["properties"]
    return properties


async def synthesize(live: Live, **fields: Any) -> httpx.Response:
    return await live.client.post(SYNTHESIZE, json=fields)


async def stream(live: Live, **fields: Any) -> list[dict[str, Any]]:
    """The frames of a streamed answer before [DONE]."""
    answer = await synthesize(live, stream=True, **fields)
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    *frames, done = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert done == "[DONE]"
    return [json.loads(frame) for frame in frames]


async def count(live: Live) -> int:
    """How many characters are stored."""
    return len((await live.client.get("/characters", params={"limit": 200})).json()["characters"])
