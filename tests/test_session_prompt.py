"""The prompt of a session: what it holds, as which ids, and what a change of the model does to it."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from redis.asyncio import Redis

from app.sessions.ids import new_id
from app.sessions.message import Message
from app.sessions.opening import open_session
from app.store.characters import CharacterRecord
from app.store.sessions import SessionStore
from characters.card import CardData, CharacterCard
from models.renderer import Renderer
from models.scene import UserPersona
from models.sections import build_head
from tests.live import Live


@pytest.mark.anyio
async def test_users_persona_is_in_the_prompt(live: Live) -> None:
    user = {"name": "{{char}}", "persona": "A thief, wary of {{char}}"}
    opened = await live.client.post("/sessions", json={"character_id": "lyra", "user": user})
    await live.client.post(f"/sessions/{opened.json()['id']}/messages", json={"content": "Hello."})
    prompt = live.engine.renderer.decode(live.engine.prompts[-1])
    assert "# About {{char}}\nA thief, wary of Lyra Tamm" in prompt
    assert "and {{char}}'s small ship has put in" in prompt


@pytest.mark.anyio
async def test_regeneration_asks_with_the_same_prompt(live: Live) -> None:
    path = f"/sessions/{(await live.client.post('/sessions', json={'character_id': 'lyra'})).json()['id']}"
    await live.client.post(f"{path}/messages", json={"content": "Hello."})
    await live.client.post(f"{path}/regenerate", json={})
    asked, again = live.engine.prompts
    assert asked == again


@pytest.mark.anyio
async def test_each_prompt_is_a_prefix_of_the_next(live: Live) -> None:
    path = f"/sessions/{(await live.client.post('/sessions', json={'character_id': 'lyra'})).json()['id']}/messages"
    for content in ("Hello.", " padded \n", "🌙 moon", "Hello."):
        await live.client.post(path, json={"content": content})
    for before, after in pairwise(live.engine.prompts):
        assert after[: len(before)] == before


@pytest.mark.anyio
async def test_history_is_kept_as_the_ids_that_were_generated(live: Live, redis: Redis) -> None:
    session = (await live.client.post("/sessions", json={"character_id": "lyra"})).json()["id"]
    turn = (await live.client.post(f"/sessions/{session}/messages", json={"content": "Hello."})).json()
    reply = (await SessionStore(redis, 15).get(session)).messages[turn["message"]["id"]]
    spoken = [token for number in range(6) for token in live.engine.renderer.encode(f"word{number} ")]
    assert reply.token_ids == spoken != live.engine.renderer.encode(reply.content)


@pytest.mark.anyio
async def test_long_session_is_cut_and_goes_on(live: Live) -> None:
    path = f"/sessions/{(await live.client.post('/sessions', json={'character_id': 'lyra'})).json()['id']}/messages"
    for number in range(30):
        (await live.client.post(path, json={"content": f"{number} " + "moon " * 60})).raise_for_status()
    lengths = [len(prompt) for prompt in live.engine.prompts]
    assert max(lengths) <= live.engine.max_model_len
    cuts = [before > after for before, after in pairwise(lengths)]
    assert 1 <= sum(cuts) <= 8
    assert len((await live.client.get(path)).json()["messages"]) == 61


# Another model


class OtherRenderer:
    """The same renderer under another fingerprint, each id one higher: as if the model had changed."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self.fingerprint = "another model"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._renderer, name)

    def encode(self, text: str) -> list[int]:
        return [token + 1 for token in self._renderer.encode(text)]


def test_session_under_the_same_model_is_itself(renderer: Renderer) -> None:
    session = open_session(CharacterRecord("odo", 1, CharacterCard(data=CardData(name="Odo"))), UserPersona(), renderer)
    assert session.under(renderer) is session


@pytest.mark.anyio
async def test_session_under_another_model_is_encoded_anew(renderer: Renderer, redis: Redis) -> None:
    store, other = SessionStore(redis, 15), OtherRenderer(renderer)
    card = CharacterCard(data=CardData(name="Odo", first_mes="Good morning.", mes_example="{{char}}: Hm."))
    session = await store.create(
        open_session(CharacterRecord("odo", 1, card), UserPersona(), renderer).reheaded(renderer)
    )
    said = Message(new_id("msg"), session.tip, "user", "Hello.", renderer.encode("Hello."))
    session = await store.commit(session, [said], tip=said.id, window=said.id)
    moved = (await store.get(session.id)).under(other)
    assert moved.head == build_head(other.encode, moved.scene())
    assert moved.window is None
    await store.commit(moved, [], tip=moved.tip, window=moved.window)
    read = await store.get(session.id)
    assert read.fingerprint == "another model"
    assert [message.token_ids for message in read.branch()] == [
        other.encode(text) for text in ("Good morning.", "Hello.")
    ]
    assert read == replace(moved, version=read.version, updated=read.updated, renewed="nothing")
