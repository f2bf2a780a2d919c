"""What has left a history is told of in its stead: on which branches, how long, and until when."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from models.sections import RECAP
from tests.cuts import Memory, metric, read_session, remember_with, talk_until_cut
from tests.live import Live
from tests.memories import open_chat, rest, say

pytestmark = pytest.mark.anyio


@pytest.fixture
async def live(live: Live) -> Live:
    """The application, at work as soon as a turn has ended."""
    live.app.state.turns.afterwards.pause_s = 0.0
    return live


@pytest.fixture
async def memory(live: Live) -> AsyncIterator[Memory]:
    """What the application remembers with."""
    with remember_with(live) as memory:
        yield memory


async def test_what_left_is_told_of_until_the_next_cut(live: Live, memory: Memory) -> None:
    path = await open_chat(live)
    decode = live.engine.renderer.decode
    first = await talk_until_cut(live, path)
    told = f"{RECAP}\n{memory.told}"
    assert told in decode(first)
    memory.told = "And of the sun."
    await rest(live)
    await say(live, path)
    assert told in decode(live.engine.prompts[-1])
    second = decode(await talk_until_cut(live, path))
    assert f"{RECAP}\n{memory.told}" in second
    assert told not in second


async def test_switched_off_memory_is_not_told(live: Live, memory: Memory) -> None:
    path = await open_chat(live)
    await talk_until_cut(live, path)
    (await live.client.patch(path, json={"memory": "off"})).raise_for_status()
    await say(live, path)
    assert RECAP not in live.engine.renderer.decode(live.engine.prompts[-1])


async def test_what_is_told_is_kept_short(live: Live, memory: Memory) -> None:
    memory.told = "🌙 moon " * 2000
    prompt = await talk_until_cut(live, await open_chat(live))
    assert live.engine.renderer.decode(prompt).count("🌙") < live.engine.max_model_len / 16
    assert "\ufffd" not in live.engine.renderer.decode(prompt)


async def test_fork_is_told_the_same(live: Live, memory: Memory) -> None:
    path = await open_chat(live)
    await talk_until_cut(live, path)
    last = (await live.client.get(path)).json()["messages"][-1]["id"]
    forked = (await live.client.post(f"{path}/fork", json={"message_id": last})).json()["id"]
    await say(live, f"/sessions/{forked}")
    assert memory.told in live.engine.renderer.decode(live.engine.prompts[-1])


async def is_told(live: Live, path: str, memory: Memory) -> bool:
    """Whether a turn is told of what left before, and cuts nothing."""
    before = await metric(live, "history_cuts_total")
    await say(live, path)
    assert await metric(live, "history_cuts_total") == before
    return memory.told in live.engine.renderer.decode(live.engine.prompts[-1])


async def change(live: Live, path: str, way: str, message_id: str) -> None:
    """Edit the message, or delete it."""
    body = {"content": "Something else."} if way == "PATCH" else None
    (await live.client.request(way, f"{path}/messages/{message_id}", json=body)).raise_for_status()


@pytest.mark.parametrize("behind", [-3, 0, 1])
@pytest.mark.parametrize("way", ["PATCH", "DELETE"])
async def test_change_around_the_cut_leaves_what_is_told(
    live: Live, memory: Memory, redis: Redis, way: str, behind: int
) -> None:
    path = await open_chat(live)
    await talk_until_cut(live, path)
    session = await read_session(redis, path)
    branch = [message.id for message in session.branch()]
    assert session.cut is not None
    await change(live, path, way, branch[branch.index(session.cut.window) + behind])
    assert await is_told(live, path, memory)
    # The branch of before as well, which has other messages.
    for _ in range(2):
        (await live.client.post(f"{path}/undo")).raise_for_status()
    assert await is_told(live, path, memory)


async def test_edited_branch_is_told_the_same_where_it_is_forked_or_chosen_again(
    live: Live, memory: Memory, redis: Redis
) -> None:
    path = await open_chat(live)
    await talk_until_cut(live, path)
    first, before = (await read_session(redis, path)).branch()[0], (await read_session(redis, path)).tip
    await change(live, path, "PATCH", first.id)
    forked = (await live.client.post(f"{path}/fork")).json()["id"]
    assert await is_told(live, f"/sessions/{forked}", memory)
    assert await is_told(live, path, memory)
    (await live.client.post(f"{path}/messages/{before}/select")).raise_for_status()
    assert await is_told(live, path, memory)


async def test_branch_from_before_the_cut_is_not_told_of_another(live: Live, memory: Memory) -> None:
    path = await open_chat(live)
    await talk_until_cut(live, path)
    early = (await live.client.get(path)).json()["messages"][2]["id"]
    await live.client.post(f"{path}/messages/{early}/select", json={"following": False})
    edited = await live.client.patch(f"{path}/messages/{early}", json={"content": "Something else."})
    edited.raise_for_status()
    await say(live, path)
    assert RECAP not in live.engine.renderer.decode(live.engine.prompts[-1])


async def test_inspector_shows_what_is_told(live: Live, memory: Memory) -> None:
    path = await open_chat(live)
    await talk_until_cut(live, path)
    shown = await live.client.get("/characters/lyra/prompt", params={"session": path.rpartition("/")[2]})
    blocks = {block["name"]: block for block in shown.json()["blocks"]}
    assert blocks["recap"]["text"] == f"{RECAP}\n{memory.told}"
