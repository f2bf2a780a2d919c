"""Whole transcripts as OpenAI's clients send them, and what a session holds of them."""

from typing import Any

import httpx

from tests.fake_engine import Script
from tests.live import Live
from tests.refusals import CHAT

Messages = list[dict[str, Any]]


async def begin_anew(running: Live) -> Live:
    """The shared server, with an engine that says words and none of its sessions or transcripts."""
    running.engine.script, running.engine.replies = Script(), 0
    running.engine.prompts.clear()
    for session in (await running.client.get("/sessions", params={"limit": 100})).json()["sessions"]:
        await running.client.delete(f"/sessions/{session['id']}")
    for key in await kept_keys(running):
        await running.app.state.redis.delete(key)
    return running


async def kept_keys(live: Live) -> list[str]:
    """Where the ids of replies to transcripts are kept."""
    return [key.decode() for key in await live.app.state.redis.keys("oc:{transcript:*")]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


async def ask(live: Live, messages: Messages, key: str | None = "kept", **fields: Any) -> httpx.Response:
    headers = {"X-Session-Id": key} if key else {}
    return await live.client.post(CHAT, json={"model": "lyra", "messages": messages, **fields}, headers=headers)


async def reply(live: Live, messages: Messages, key: str | None = "kept", **fields: Any) -> str:
    answer = (await ask(live, messages, key, **fields)).raise_for_status()
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


async def stored(live: Live, session: str = "kept") -> list[tuple[str, str]]:
    shown = (await live.client.get(f"/sessions/{session}/messages")).raise_for_status().json()["messages"]
    return [(message["role"], message["content"]) for message in shown]


def shows(messages: Messages) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in messages if message["role"] != "system"]


async def talk(live: Live, turns: int, key: str | None = "kept", **fields: Any) -> Messages:
    """What a client shows after so many turns, each of which sends it all."""
    shown: Messages = []
    for number in range(turns):
        shown.append(user(f"Number {number}: what is out there?"))
        shown.append(assistant(await reply(live, shown, key, **fields)))
    return shown
