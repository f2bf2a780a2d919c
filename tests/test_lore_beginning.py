"""Lore that begins the character's reply: generated on from, and the first that a client and the history get of it."""

import json
from typing import Any

import pytest

from tests.fake_engine import Script
from tests.live import Live
from tests.lore_sessions import FREEZE, entry, open_with, say
from tests.talks import prompt

BEGUN = "*hisses* I"
REPLY = "*hisses* Iword0 word1 word2 word3 word4 word5 "
BOOK = {
    "extensions": {},
    "entries": [
        entry("dragon", f"@@depth 0\n@@role assistant\n{BEGUN}"),
        entry("sea", "{{user}}:", extensions={"position": 4, "depth": 0, "role": 2}),
        entry("oath", "@@depth 0\n@@role assistant\nAn oath was sworn.", extensions=FREEZE),
    ],
}
LITERAL = {"opencharacter": {"layout": "compat"}}


async def ask(live: Live, path: str, **body: Any) -> dict[str, Any]:
    answer = await live.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def ends_with(live: Live, words: str) -> bool:
    """Whether the model was asked to go on from these words of the character's."""
    return prompt(live).endswith(f"<|start_header_id|>assistant<|end_header_id|>\n\n{words}")


@pytest.mark.anyio
@pytest.mark.parametrize("extensions", [{}, LITERAL])
async def test_reply_goes_on_from_the_lores_words(live: Live, extensions: dict[str, Any]) -> None:
    session = await open_with(live, {"character_book": BOOK, "extensions": extensions})
    told = await ask(live, f"/sessions/{session}/messages", content="A dragon!")
    assert ends_with(live, BEGUN)
    assert told["message"]["content"] == REPLY
    # The stop token is one of the reply's, the words of lore are none.
    assert told["usage"]["completion_tokens"] == 1 + sum(
        len(live.engine.renderer.encode(f"word{number} ")) for number in range(6)
    )
    assert live.engine.params[-1].min_tokens == 1
    following = await say(live, session, "Good night.")
    assert following.count(REPLY) == 1
    assert ends_with(live, "")


@pytest.mark.anyio
async def test_stream_begins_with_the_lores_words(live: Live) -> None:
    session = await open_with(live, {"character_book": BOOK})
    body = {"content": "A dragon!", "stream": True}
    answer = await live.client.post(f"/sessions/{session}/messages", json=body)
    frames = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line[6:7] == "{"]
    deltas = [choice["delta"].get("content", "") for frame in frames for choice in frame["choices"]]
    assert "".join(deltas) == REPLY
    read = (await live.client.get(f"/sessions/{session}/messages")).json()["messages"]
    assert read[-1]["content"] == REPLY


@pytest.mark.anyio
async def test_each_of_several_replies_begins_with_them(live: Live) -> None:
    live.engine.script = Script(says=[" bite.", " sleep."])
    session = await open_with(live, {"character_book": BOOK})
    told = await ask(live, f"/sessions/{session}/messages", content="A dragon!", n=2)
    assert [message["content"] for message in told["messages"]] == [f"{BEGUN} bite.", f"{BEGUN} sleep."]
    told = await ask(live, f"/sessions/{session}/regenerate")
    assert told["message"]["content"] == f"{BEGUN} bite."


@pytest.mark.anyio
async def test_actions_in_the_lores_words_are_told_apart(live: Live) -> None:
    live.engine.script = Script(says=[" bite."])
    session = await open_with(live, {"character_book": BOOK})
    told = await ask(live, f"/sessions/{session}/messages", content="A dragon!", channels="separate")
    assert (told["message"]["content"], told["message"]["actions"]) == ("I bite.", ["hisses"])


@pytest.mark.anyio
async def test_nobody_elses_words_are_begun(live: Live) -> None:
    session = await open_with(live, {"character_book": BOOK})
    await say(live, session, "A dragon!")
    told = await ask(live, f"/sessions/{session}/continue")
    assert told["message"]["content"].count(BEGUN) == 1
    assert ends_with(live, REPLY)
    await ask(live, f"/sessions/{session}/impersonate", content="The dragon")
    assert ends_with(live, "The dragon")
    await ask(live, f"/sessions/{session}/impersonate")
    assert ends_with(live, "")


@pytest.mark.anyio
async def test_reply_with_a_form_begins_as_that_does(live: Live) -> None:
    session = await open_with(live, {"character_book": BOOK})
    body = {"content": "A dragon!", "response_format": {"type": "json_object"}}
    await ask(live, f"/sessions/{session}/messages", **body)
    assert ends_with(live, "")


@pytest.mark.anyio
async def test_macros_in_the_words_are_replaced_and_nothing_comes_of_frozen_ones(live: Live) -> None:
    session = await open_with(live, {"character_book": BOOK})
    await say(live, session, "The sea!")
    assert ends_with(live, "Sam:")
    told = await say(live, session, "An oath!")
    assert ends_with(live, "")
    assert "system<|end_header_id|>\n\nAn oath was sworn.<|eot_id|>" in told


@pytest.mark.anyio
async def test_reply_that_ends_at_once_is_what_lore_said(live: Live) -> None:
    live.engine.script = Script(words=0)
    session = await open_with(live, {"character_book": BOOK})
    told = await ask(live, f"/sessions/{session}/messages", content="A dragon!")
    assert told["message"]["content"] == BEGUN


@pytest.mark.anyio
async def test_clients_transcript_is_answered_from_the_lores_words_on_unless_it_has_its_own(live: Live) -> None:
    card = {"id": "odo", "name": "Odo", "character_book": BOOK}
    (await live.client.post("/characters", json=card)).raise_for_status()
    said = {"role": "user", "content": "A dragon!"}
    told = await ask(live, "/v1/chat/completions", model="odo", messages=[said])
    assert told["choices"][0]["message"]["content"] == REPLY
    assert ends_with(live, BEGUN)
    # What the client sends back is what was generated, token by token.
    reply = {"role": "assistant", "content": told["choices"][0]["message"]["content"]}
    again = [said, reply, {"role": "user", "content": "Good night."}]
    await ask(live, "/v1/chat/completions", model="odo", messages=again)
    one, other = live.engine.prompts[-2:]
    begun = live.engine.renderer.encode(BEGUN)
    assert one[-len(begun) :] == begun
    tail = len(one) - len(begun)
    generated = [*begun, *(i for n in range(6) for i in live.engine.renderer.encode(f"word{n} "))]
    assert other[tail : tail + len(generated)] == generated
    own = {"role": "assistant", "content": "Well,"}
    told = await ask(live, "/v1/chat/completions", model="odo", messages=[said, own])
    assert BEGUN not in told["choices"][0]["message"]["content"]
    assert ends_with(live, "Well,")


@pytest.mark.anyio
async def test_session_of_a_client_prefers_the_clients_words(live: Live) -> None:
    session = await open_with(live, {"character_book": BOOK})
    said, own = {"role": "user", "content": "A dragon!"}, {"role": "assistant", "content": "Well,"}
    await ask(live, "/v1/chat/completions", session_id=session, messages=[said, own])
    assert ends_with(live, "Well,")


@pytest.mark.anyio
async def test_inspector_shows_the_words(live: Live) -> None:
    session = await open_with(live, {"character_book": BOOK})
    character = (await live.client.get(f"/sessions/{session}")).json()["character_id"]
    shown = await live.client.get(f"/characters/{character}/prompt", params={"session": session, "text": "A dragon!"})
    last = shown.raise_for_status().json()["blocks"][-1]
    assert (last["part"], last["role"], last["text"]) == ("tail", "assistant", BEGUN)


@pytest.mark.anyio
async def test_one_of_a_cast_begins_behind_its_name(live: Live) -> None:
    depth = {"position": 4, "depth": 4}
    shared = {"name": "all", "entries": [entry("", "It rains on {{group}}.", constant=True, extensions=depth)]}
    book = (await live.client.post("/lorebooks", json=shared)).raise_for_status().json()["id"]
    for name, fields in (("Ann", {"character_book": BOOK}), ("Ben", {})):
        card = {"id": name.lower(), "name": name, **fields}
        (await live.client.post("/characters", json=card)).raise_for_status()
    cast = {"character_ids": ["ann", "ben"], "turn_order": "manual", "lorebook_ids": [book]}
    session = (await live.client.post("/sessions", json=cast)).raise_for_status().json()["id"]
    told = await ask(live, f"/sessions/{session}/messages", content="A dragon!", speaker="ann")
    assert ends_with(live, f"Ann:\n{BEGUN}")
    assert told["message"]["content"] == REPLY
    await ask(live, f"/sessions/{session}/messages", content="A dragon!", speaker="ben")
    assert ends_with(live, "Ben:\n")
    # What is always said, but near the end, stands in no head: the speaker is told.
    assert prompt(live).count("It rains on Ann, Ben.") == 1
