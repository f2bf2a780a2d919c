"""What is done between turns: prompts read ahead of them, cuts planned; and that no turn ever waits or fails for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from app.sessions.session import Cut, Message, Session
from app.store.sessions import SessionStore
from models.engine import Adapter, EngineError
from models.renderer import Renderer
from models.sections import RECAP
from tests.fake_engine import FakeEngine, Script
from tests.live import PATIENCE_S, Live, serve_live

pytestmark = pytest.mark.anyio

LINE = "moon " * 60


@pytest.fixture
async def live(live: Live) -> Live:
    """The application, at work as soon as a turn has ended."""
    live.app.state.turns.afterwards.pause_s = 0.0
    return live


async def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Return as soon as `condition` holds; fail, naming `what`, when it doesn't in time."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"not in time: {what}") from None


async def open_chat(live: Live, character: str = "lyra") -> str:
    """A session's path."""
    opened = await live.client.post("/sessions", json={"character_id": character})
    return f"/sessions/{opened.json()['id']}"


async def say(live: Live, path: str, content: str = "Hello.") -> dict[str, Any]:
    answer: dict[str, Any] = (
        (await live.client.post(f"{path}/messages", json={"content": content})).raise_for_status().json()
    )
    return answer


async def metric(live: Live, name: str) -> float:
    lines = (await live.client.get("/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"opencharacter_{name}"))


async def rest(live: Live) -> None:
    """Until everything between turns is done."""
    afterwards = live.app.state.turns.afterwards
    await wait_for(lambda: not afterwards.pending, "the work between turns")


async def talk_until_cut(live: Live, path: str, *, resting: bool = True) -> list[int]:
    """Say things until the history is cut; returns the prompt of the turn that cut it."""
    for number in range(40):
        if resting:
            await rest(live)
        await say(live, path, f"{number} {LINE}")
        before, after = [[], *live.engine.prompts][-2:]
        if len(after) < len(before):
            return after
    raise AssertionError("the history was never cut")


def begins_with(prompt: Sequence[int], beginnings: Sequence[list[int]]) -> bool:
    return any(prompt[: len(ids)] == ids for ids in beginnings)


# Reading ahead


async def test_head_is_read_when_a_session_is_opened(live: Live) -> None:
    path = await open_chat(live)
    await rest(live)
    await say(live, path)
    (ahead,) = live.engine.prefilled[:1]
    assert len(ahead) > 400
    assert live.engine.prompts[0][: len(ahead)] == ahead


async def test_head_that_was_read_lately_is_not_read_again(live: Live) -> None:
    for _ in range(3):
        await open_chat(live)
        await rest(live)
    assert len(live.engine.prefilled) == 1


async def test_what_the_next_prompt_begins_with_is_read_after_each_turn(live: Live) -> None:
    path = await open_chat(live)
    for number in range(3):
        await say(live, path, f"Hello {number}.")
        await rest(live)
    read = list(live.engine.prefilled)
    await say(live, path)
    assert len(read[-1]) > len(live.engine.prompts[-2])
    assert live.engine.prompts[-1][: len(read[-1])] == read[-1]


async def test_what_an_edit_leaves_is_read_ahead(live: Live) -> None:
    path = await open_chat(live)
    await say(live, path)
    await rest(live)
    first = (await live.client.get(f"{path}/messages")).json()["messages"][0]["id"]
    (await live.client.patch(f"{path}/messages/{first}", json={"content": "Who is there?"})).raise_for_status()
    await rest(live)
    read = live.engine.prefilled[-1]
    await say(live, path)
    assert live.engine.prompts[-1][: len(read)] == read
    assert "Who is there?" in live.engine.renderer.decode(read)


async def test_sessions_of_openai_clients_are_read_ahead_too(live: Live) -> None:
    async def ask(text: str) -> None:
        body = {"model": "lyra", "messages": [{"role": "user", "content": text}]}
        answer = await live.client.post("/v1/chat/completions", json=body, headers={"X-Session-Id": "sam"})
        answer.raise_for_status()
        await rest(live)

    await ask("Hello.")
    read = live.engine.prefilled[-1]
    await ask("And now?")
    assert live.engine.prompts[-1][: len(read)] == read


async def test_nothing_is_read_ahead_where_nothing_stays_in_its_place(live: Live) -> None:
    card = {"name": "Odo", "extensions": {"opencharacter": {"layout": "compat"}}}
    path = await open_chat(live, (await live.client.post("/characters", json=card)).json()["id"])
    await say(live, path)
    await rest(live)
    assert live.engine.prefilled == []


async def test_tokens_read_ahead_are_counted(live: Live) -> None:
    path = await open_chat(live)
    await say(live, path)
    await rest(live)
    assert await metric(live, "prewarmed_tokens_total") == sum(map(len, live.engine.prefilled)) > 0
    assert await metric(live, 'prewarms_total{outcome="done"}') == len(live.engine.prefilled)


async def test_nothing_is_read_ahead_under_load(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with serve_live(FakeEngine(renderer), redis_url, prewarm_below=1) as live:
        other = await open_chat(live)
        await rest(live)
        read = len(live.engine.prefilled)
        live.engine.script = Script(hold_after=2)
        running = asyncio.create_task(say(live, other))
        await live.engine.held.wait()
        live.engine.script = Script()
        await say(live, await open_chat(live))
        await rest(live)
        assert len(live.engine.prefilled) == read
        assert await metric(live, 'prewarms_total{outcome="busy"}') >= 1
        live.engine.go.set()
        await running


async def test_next_turn_ends_what_is_read_ahead(live: Live) -> None:
    path = await open_chat(live)
    await rest(live)
    live.engine.script = Script(hold_prefills=True)
    await say(live, path)
    await wait_for(lambda: live.engine.prefilling, "reading ahead")
    (held,) = live.engine.prefilling
    await say(live, path)
    assert held not in live.engine.prefilling
    assert await metric(live, 'prewarms_total{outcome="overtaken"}') == 1


async def test_engine_that_fails_to_read_ahead_answers_all_the_same(
    renderer: Renderer, redis: Redis, redis_url: str
) -> None:
    class Failing(FakeEngine):
        async def prefill(
            self,
            prompt_token_ids: list[int],
            *,
            request_id: str,
            cache_salt: str | None = None,
            adapter: Adapter | None = None,
            known: int = 0,
        ) -> int:
            raise EngineError("no room")

    async with serve_live(Failing(renderer), redis_url) as live:
        path = await open_chat(live)
        for _ in range(2):
            await rest(live)
            await say(live, path)
        assert await metric(live, 'prewarms_total{outcome="failed"}') == 2


async def test_server_stops_while_it_reads_ahead(renderer: Renderer, redis: Redis, redis_url: str) -> None:
    async with serve_live(FakeEngine(renderer, Script(hold_prefills=True)), redis_url) as live:
        await open_chat(live)
        await wait_for(lambda: live.engine.prefilling, "reading ahead")
        engine = live.engine
    assert engine.prefilling == []


# Planned cuts


class Memory:
    """Remembers everything, and tells of it what it is told to."""

    def __init__(self, told: str = "They spoke of the moon.") -> None:
        self.told = told
        self.go = asyncio.Event()
        self.go.set()
        self.asked = 0
        self.remembered: list[str] = []

    async def remember(self, session: Session, leaving: Sequence[Message]) -> str:
        self.asked += 1
        await self.go.wait()
        self.remembered += [message.id for message in leaving]
        return self.told


@pytest.fixture
async def memory(live: Live) -> AsyncIterator[Memory]:
    """What the application remembers with."""
    memory = Memory()
    live.app.state.turns.afterwards.remember = memory.remember
    yield memory
    memory.go.set()


async def read_session(redis: Redis, path: str) -> Session:
    return await SessionStore(redis, 15).get(path.rpartition("/")[2])


async def test_turn_that_cuts_finds_its_prompt_read(live: Live) -> None:
    path = await open_chat(live)
    for _ in range(2):
        prompt = await talk_until_cut(live, path)
        assert begins_with(prompt, [ids for ids in live.engine.prefilled if len(ids) > 600])
    assert await metric(live, 'history_cuts_total{kind="planned"}') == 2
    assert await metric(live, 'history_cuts_total{kind="unplanned"}') == 0


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


async def test_each_prompt_begins_with_the_one_before_but_for_a_cut(live: Live, memory: Memory) -> None:
    path = await open_chat(live)
    await talk_until_cut(live, path)
    for _ in range(2):
        await rest(live)
        await say(live, path)
    before, after = live.engine.prompts[-2:]
    assert after[: len(before)] == before


async def test_what_leaves_is_remembered_once_and_nothing_else(live: Live, memory: Memory, redis: Redis) -> None:
    path = await open_chat(live)
    for _ in range(2):
        await talk_until_cut(live, path)
    session = await read_session(redis, path)
    branch = [message.id for message in session.branch()]
    assert session.window is not None
    assert memory.remembered == branch[: branch.index(session.window)]


async def test_what_left_unplanned_is_remembered(live: Live, memory: Memory, redis: Redis) -> None:
    path = await open_chat(live)
    memory.go.clear()
    await talk_until_cut(live, path, resting=False)
    memory.go.set()
    await rest(live)
    session = await read_session(redis, path)
    branch = [message.id for message in session.branch()]
    assert session.window is not None
    assert set(branch[: branch.index(session.window)]) <= set(memory.remembered)
    assert await metric(live, 'history_cuts_total{kind="unplanned"}') == 1


async def test_plan_that_comes_late_is_there_for_the_turn_after(live: Live, memory: Memory, redis: Redis) -> None:
    path = await open_chat(live)
    memory.go.clear()
    for number in range(40):
        await say(live, path, f"{number} {LINE}")
        await wait_for(lambda: live.app.state.turns.afterwards.pending == memory.asked, "what can be done by now")
        if memory.asked:
            break
    live.engine.script = Script(hold_after=2)
    turn = asyncio.create_task(say(live, path, "A short one."))
    await live.engine.held.wait()
    memory.go.set()
    await rest(live)
    assert (await read_session(redis, path)).planned is None
    live.engine.go.set()
    await turn
    await rest(live)
    planned = (await read_session(redis, path)).planned
    assert planned is not None
    assert planned.recap == memory.told
    assert memory.asked == 1


async def test_server_that_stops_ends_all_that_is_remembered(live: Live) -> None:
    ended: list[int] = []
    begun: list[int] = []

    async def remember(_: Session, leaving: Sequence[Message]) -> str:
        begun.append(len(leaving))
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(len(leaving))
        return ""

    afterwards = live.app.state.turns.afterwards
    afterwards.remember = remember
    path = await open_chat(live)
    for number in range(40):
        await say(live, path, f"{number} {LINE}")
        await wait_for(lambda: afterwards.pending == len(begun), "what can be done by now")
        if begun:
            break
    await say(live, path, "A turn that waits for it.")
    await afterwards.close()
    assert ended == begun


async def test_switched_off_memory_is_not_told(live: Live, memory: Memory) -> None:
    path = await open_chat(live)
    await talk_until_cut(live, path)
    (await live.client.patch(path, json={"memory": "off"})).raise_for_status()
    await say(live, path)
    assert RECAP not in live.engine.renderer.decode(live.engine.prompts[-1])


async def test_memory_that_fails_costs_no_turn(live: Live) -> None:
    async def fail(session: Session, leaving: Sequence[Message]) -> str:
        raise RuntimeError("a bug")

    live.app.state.turns.afterwards.remember = fail
    await talk_until_cut(live, await open_chat(live))


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


# Plans in the store


async def test_plan_is_kept_and_changes_no_version(live: Live, sessions: SessionStore) -> None:
    session = await sessions.get((await open_chat(live)).rpartition("/")[2])
    planned = Cut(str(session.tip), "They met.")
    assert await sessions.plan(session, planned)
    assert await sessions.get(session.id) == replace(session, planned=planned)


async def test_plan_for_a_session_that_moved_on_is_dropped(live: Live, sessions: SessionStore) -> None:
    path = await open_chat(live)
    before = await sessions.get(path.rpartition("/")[2])
    await say(live, path)
    assert not await sessions.plan(before, Cut(str(before.tip)))
    assert (await sessions.get(before.id)).planned is None


async def test_plan_for_a_session_that_is_gone_is_dropped(live: Live, sessions: SessionStore, redis: Redis) -> None:
    path = await open_chat(live)
    session = await sessions.get(path.rpartition("/")[2])
    await live.client.delete(path)
    assert not await sessions.plan(session, Cut(str(session.tip)))
    assert await redis.keys(f"*{session.id}*") == []


async def test_plan_of_a_branch_that_was_left_is_not_followed(live: Live, memory: Memory, redis: Redis) -> None:
    path = await open_chat(live)
    store = SessionStore(redis, 15)
    await say(live, path, LINE)
    session = await read_session(redis, path)
    assert await store.plan(session, Cut("msg_of_nobody", "Nothing of this."))
    await talk_until_cut(live, path, resting=False)
    assert "Nothing of this." not in live.engine.renderer.decode(live.engine.prompts[-1])
