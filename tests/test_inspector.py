"""The inspector: every word of the prompt in a named block, and a word about what costs."""

from typing import Any

import pytest

from tests.live import Live
from tests.lore_sessions import BOOK, open_with, say
from tests.talks import prompt


async def inspect(live: Live, **query: str) -> dict[str, Any]:
    shown: dict[str, Any] = (await live.client.get("/characters/odo/prompt", params=query)).raise_for_status().json()
    return shown


@pytest.mark.anyio
@pytest.mark.parametrize("layout", ["cache", "compat"])
async def test_inspector_shows_the_prompt_that_is_sent(live: Live, layout: str) -> None:
    data = {
        "id": "odo",
        "description": "A baker.",
        "mes_example": "<START>\n{{user}}: Bread?\n{{char}}: Bread.",
        "post_history_instructions": "Be brief.",
        "extensions": {"opencharacter": {"layout": layout}, "depth_prompt": {"prompt": "Deep.", "depth": 2}},
    }
    session = await open_with(live, data, note={"text": "A note."})
    await say(live, session, "Ring the bell.")
    shown = await inspect(live, session=session, text="A dragon!")
    told = await say(live, session, "A dragon!")
    assert shown["prompt_tokens"] == len(live.engine.prompts[-1])
    place = 0
    for block in shown["blocks"]:
        place = told.index(block["text"], place) + len(block["text"])
        # What was generated counts as it was generated.
        if block["role"] != "assistant":
            assert block["tokens"] == len(live.engine.renderer.encode(block["text"]))
    assert {block["part"] for block in shown["blocks"]} == {"head", "history", "tail"}
    names = [block["name"] for block in shown["blocks"]]
    assert {"opening", "description", "closing", "example 1", "post_history_instructions", "note"} <= set(names)
    assert [one["name"] for one in shown["lore"]["fired"]]
    assert prompt(live) == told


@pytest.mark.anyio
async def test_inspector_shows_a_session_that_would_begin(live: Live) -> None:
    await live.client.post("/characters", json={"id": "odo", "name": "Odo", "first_mes": "Hm.", "character_book": BOOK})
    shown = await inspect(live)
    assert [block["text"] for block in shown["blocks"] if block["part"] == "history"] == ["Hm."]
    assert "# World\nThe sea is Odo's." in [block["text"] for block in shown["blocks"] if block["part"] == "head"]
    assert {one["reason"] for one in shown["lore"]["not_fired"]} == {
        "none of its keys was found in the text that is scanned"
    }


@pytest.mark.anyio
async def test_inspector_warns_of_what_costs(live: Live) -> None:
    entries = [{"keys": ["dragon"], "content": "fire " * 600, "enabled": True, "insertion_order": 1, "extensions": {}}]
    data: dict[str, Any] = {
        "id": "odo",
        "description": "{{time}} " + "moon " * 1100,
        "character_book": {"entries": entries, "extensions": {}},
    }
    session = await open_with(live, data)
    warnings = "\n".join((await inspect(live, session=session, text="A dragon!"))["warnings"])
    assert "description: its macros" in warnings
    assert "the head takes" in warnings
    assert "1 lore entries fired and did not fit" in warnings
    await live.client.patch("/characters/odo", json={"description": "Short."})
    assert "keeps version 1 of the character, which has 2" in "\n".join(
        (await inspect(live, session=session))["warnings"]
    )


@pytest.mark.anyio
async def test_inspector_warns_of_a_prompt_that_does_not_fit(live: Live) -> None:
    await live.client.post("/characters", json={"id": "odo", "name": "Odo", "description": "moon " * 3000})
    assert any("the character's card needs" in warning for warning in (await inspect(live))["warnings"])


@pytest.mark.anyio
async def test_inspector_refuses_another_characters_session(live: Live) -> None:
    await live.client.post("/characters", json={"id": "odo", "name": "Odo"})
    session = (await live.client.post("/sessions", json={"character_id": "lyra"})).json()["id"]
    answer = await live.client.get("/characters/odo/prompt", params={"session": session})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "session")
    assert (await live.client.get("/characters/nobody/prompt")).status_code == 404
