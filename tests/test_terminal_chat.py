"""The chat in a terminal that goes on with a session: whose it is, and what becomes of it when that one is gone."""

import argparse
import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from app.chat import chat
from app.settings import Settings
from tests.live import Live


async def open_session(live: Live, character: str = "lyra") -> str:
    answer = await live.client.post("/sessions", json={"character_id": character})
    session: str = answer.raise_for_status().json()["id"]
    return session


async def talk(live: Live, character: str, session: str, *lines: str, channels: str = "show") -> int:
    """Type `lines` into a chat; returns its exit status."""
    typed: Iterator[str] = iter(lines)

    def type_line(_: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    chosen = argparse.Namespace(
        character=character,
        session=session,
        url=str(live.client.base_url),
        name="User",
        persona="",
        greeting=0,
        channels=channels,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.input", type_line)
        return await asyncio.to_thread(chat, Settings(model="models/tiny"), chosen)


async def said(live: Live, session: str) -> list[str]:
    messages: list[dict[str, Any]] = (await live.client.get(f"/sessions/{session}")).json()["messages"]
    return [message["content"] for message in messages]


@pytest.mark.anyio
async def test_chat_goes_on_with_the_session_of_its_character(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    session = await open_session(live)
    assert await talk(live, "lyra", session, "Hello.") == 0
    assert "Lyra Tamm" in capsys.readouterr().out
    assert (await said(live, session))[1] == "Hello."


@pytest.mark.anyio
async def test_chat_refuses_the_session_of_another_character(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    session = await open_session(live)
    assert await talk(live, "osbern", session, "Hello.") == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert f"the session {session} is with lyra, not osbern" in shown
    assert f"python -m app chat lyra --session {session}" in shown
    assert len(await said(live, session)) == 1


@pytest.mark.anyio
async def test_chat_goes_on_without_its_character(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    await live.client.post("/characters", json={"id": "odo", "name": "Odo Brann", "first_mes": "Morning."})
    session = await open_session(live, "odo")
    await live.client.delete("/characters/odo")
    assert await talk(live, "odo", session, "Hello.") == 0
    assert "odo was deleted: the session goes on" in " ".join(capsys.readouterr().out.split())
    assert (await said(live, session))[:2] == ["Morning.", "Hello."]


@pytest.mark.anyio
@pytest.mark.parametrize("session", ["nowhere", "../characters/lyra", "a?b#c"])
async def test_chat_with_an_unknown_session_says_so(
    live: Live, capsys: pytest.CaptureFixture[str], session: str
) -> None:
    assert await talk(live, "lyra", session) == 1
    assert "there is no" in capsys.readouterr().out


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("channels", "shown"),
    [
        ("show", "*waves* Hello (sits), you. [Hm.] *smiles*"),
        ("separate", "waves Hello sits, you. Hm. smiles"),
        ("hide", "Hello, you."),
    ],
)
async def test_chat_shows_channels_as_asked(
    live: Live, capsys: pytest.CaptureFixture[str], channels: str, shown: str
) -> None:
    live.engine.script.says = ["*waves* Hello (sits), you. [Hm.] *smiles*"]
    session = await open_session(live)
    assert await talk(live, "lyra", session, "Hi.", channels=channels) == 0
    assert f"Lyra Tamm: {shown}\n" in capsys.readouterr().out
    assert (await said(live, session))[-1] == live.engine.script.says[0]


@pytest.mark.anyio
async def test_history_hides_channels_too(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    live.engine.script.says = ["*waves* Hello."]
    session = await open_session(live)
    assert await talk(live, "lyra", session, "Hi.", channels="hide") == 0
    assert await talk(live, "lyra", session, "/history", channels="hide") == 0
    out = capsys.readouterr().out
    assert out.count("Lyra Tamm: Hello.\n") == 3
    assert "waves" not in out
