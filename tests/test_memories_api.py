"""Memories over HTTP: written, listed, searched, changed, forgotten, and what of them is refused."""

from typing import Any

import pytest
from redis.asyncio import Redis

from app.errors import ConflictError, NotFoundError
from app.store.connection import connect
from app.store.memories import MOST_MEMORIES, MemoryRecord, MemoryStore, NewMemory
from tests.live import Live
from tests.memories import memories, memory_of, open_chat

pytestmark = pytest.mark.anyio

NOWHERE = "/sessions/sess_nowhere"


async def write(live: Live, path: str, text: str, **fields: Any) -> dict[str, Any]:
    answer = await live.client.post(f"{path}/memories", json={"text": text, **fields})
    assert answer.status_code == 201, answer.text
    written: dict[str, Any] = answer.json()
    return written


async def test_memory_is_written_and_read(running: Live) -> None:
    path = await open_chat(running)
    answer = await running.client.post(
        f"{path}/memories", json={"text": " Sam\nfears lifts. ", "kind": "user", "at": 12.5, "mood": "fear"}
    )
    memory = answer.json()
    assert answer.headers["location"] == f"{path}/memories/{memory['id']}"
    assert {name: memory[name] for name in ("text", "kind", "at", "mood", "enabled", "message_ids")} == {
        "text": "Sam fears lifts.",
        "kind": "user",
        "at": 12.5,
        "mood": "fear",
        "enabled": True,
        "message_ids": [],
    }
    assert (await running.client.get(answer.headers["location"])).json() == memory
    assert await memories(running, path) == [memory]


async def test_many_are_written_at_once_or_none(running: Live) -> None:
    path = await open_chat(running)
    texts = [{"text": f"Fact {number}."} for number in range(5)]
    answer = await running.client.post(f"{path}/memories", json={"memories": texts})
    assert [memory["text"] for memory in answer.json()["memories"]] == [text["text"] for text in texts]
    broken = await running.client.post(f"{path}/memories", json={"memories": [*texts, {"text": ""}]})
    assert broken.status_code == 400
    assert broken.json()["error"]["param"] == "memories.5.text"
    assert len(await memories(running, path)) == 5


async def test_list_pages_from_the_newest(running: Live) -> None:
    path = await open_chat(running)
    texts = [{"text": f"Fact {number}.", "at": number} for number in range(7)]
    await running.client.post(f"{path}/memories", json={"memories": texts})
    seen, cursor = [], 0
    while cursor is not None:
        query = {"limit": 3, "cursor": cursor}
        page = (await running.client.get(f"{path}/memories", params=query)).json()
        seen += [memory["at"] for memory in page["memories"]]
        cursor = page["next_cursor"]
    assert seen == [6, 5, 4, 3, 2, 1, 0]


async def test_search_finds_the_best_first(running: Live) -> None:
    path = await open_chat(running)
    for text, kind in (("The dog is called Brandt.", "user"), ("The dog barks.", "note"), ("It rains.", "note")):
        await write(running, path, text, kind=kind)
    found = await memories(running, path, q="What is the dog's name, Brandt?")
    assert [memory["text"] for memory in found] == ["The dog is called Brandt.", "The dog barks."]
    assert found[0]["score"] > found[1]["score"]
    assert [memory["kind"] for memory in await memories(running, path, q="dog", kind="note")] == ["note"]
    assert [memory["kind"] for memory in await memories(running, path, kind="user")] == ["user"]


async def test_search_of_a_kind_is_not_crowded_out_by_others(running: Live) -> None:
    path = await open_chat(running)
    texts = [{"text": f"Moon {number}.", "kind": "event"} for number in range(5)]
    texts += [{"text": f"Rain {number}."} for number in range(60)]
    await running.client.post(f"{path}/memories", json={"memories": texts})
    await write(running, path, "Sam once saw a moon in the pond behind the house.", kind="user")
    found = await memories(running, path, q="moon", kind="user", limit=1)
    assert [memory["kind"] for memory in found] == ["user"]


async def test_sessions_without_memories_are_not_held_for_good(running: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.sessions.memory.MOST_READY", 8)
    for _ in range(12):
        assert await memories(running, await open_chat(running)) == []
    assert len(memory_of(running)._ready) <= 8


async def test_memory_is_changed_field_by_field(running: Live) -> None:
    path = await open_chat(running)
    memory = await write(running, path, "Sam fears lifts.", mood="fear", at=5)
    address = f"{path}/memories/{memory['id']}"
    changed = (await running.client.patch(address, json={"text": "Sam loves lifts.", "mood": None})).json()
    assert changed == {**memory, "text": "Sam loves lifts.", "mood": None}
    assert (await running.client.patch(address, json={})).json() == changed
    assert await memories(running, path, q="love lifts") != []


async def test_memories_are_forgotten_one_by_one_and_all_at_once(running: Live) -> None:
    path = await open_chat(running)
    first = await write(running, path, "One.")
    await write(running, path, "Two.")
    await write(running, path, "Three.")
    assert (await running.client.delete(f"{path}/memories/{first['id']}")).status_code == 204
    assert (await running.client.delete(f"{path}/memories/{first['id']}")).status_code == 404
    assert len(await memories(running, path)) == 2
    assert (await running.client.delete(f"{path}/memories")).status_code == 204
    assert await memories(running, path) == []


async def test_memories_of_one_session_are_not_those_of_another(running: Live) -> None:
    path, other = await open_chat(running), await open_chat(running)
    memory = await write(running, path, "A secret.")
    assert await memories(running, other) == []
    assert (await running.client.get(f"{other}/memories/{memory['id']}")).status_code == 404
    assert (await running.client.patch(f"{other}/memories/{memory['id']}", json={"text": "x"})).status_code == 404


# Bad input


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": " \n "}, "text"),
        ({"text": "x" * 2001}, "text"),
        ({"text": 5}, "text"),
        ({"text": "x", "kind": "rumour"}, "kind"),
        ({"text": "x", "mood": "hungry"}, "mood"),
        ({"text": "x", "at": "yesterday"}, "at"),
        ({"text": "x", "at": 1e300}, "at"),
        ({"text": "x", "vector": "abc"}, "vector"),
        ({"text": "x", "vector": [1, "a"]}, "vector.1"),
        ({"text": "x", "vector": [0.1] * 10_000}, "vector"),
        ({"text": "x", "vector": [0.1] * 384}, "vector"),
        ({"memories": []}, "memories"),
        ({"memories": [{"text": "x"}] * 501}, "memories"),
        ({"memories": [{"text": "x"}, {"text": "y", "vector": [1.0]}]}, "memories.1.vector"),
        ({"memories": {"text": "x"}}, "memories"),
    ],
)
async def test_broken_memory_is_refused(running: Live, body: dict[str, Any], param: str) -> None:
    path = await open_chat(running)
    answer = await running.client.post(f"{path}/memories", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert await memories(running, path) == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/memories"),
        ("GET", "/memories?q=x"),
        ("DELETE", "/memories"),
        ("POST", "/memories"),
        ("GET", "/memories/mem_1"),
        ("PATCH", "/memories/mem_1"),
        ("DELETE", "/memories/mem_1"),
    ],
)
async def test_memories_of_no_session_are_not_there(running: Live, method: str, path: str) -> None:
    answer = await running.client.request(method, NOWHERE + path, json={"text": "x"})
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("body", [{"text": ""}, {"text": None, "at": "x"}, {"mood": "hungry"}, {"enabled": "perhaps"}])
async def test_broken_change_is_refused(running: Live, body: dict[str, Any]) -> None:
    path = await open_chat(running)
    memory = await write(running, path, "One.")
    assert (await running.client.patch(f"{path}/memories/{memory['id']}", json=body)).status_code == 400
    assert await memories(running, path) == [memory]


# The store


async def test_session_has_only_so_many_memories(running: Live) -> None:
    path = await open_chat(running)
    session, store = path.rpartition("/")[2], memory_of(running).store
    await store.write(session, [NewMemory(MemoryRecord(f"mem_{number}", "x")) for number in range(MOST_MEMORIES)])
    answer = await running.client.post(f"{path}/memories", json={"text": "one too many"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "too_many_memories")


async def test_of_too_many_memories_the_oldest_go_and_what_was_written_by_hand_stays(running: Live) -> None:
    path = await open_chat(running)
    session_id, memory = path.rpartition("/")[2], memory_of(running)
    old = [NewMemory(MemoryRecord(f"mem_{number}", "x", "said", float(number))) for number in range(MOST_MEMORIES - 1)]
    await memory.store.write(session_id, [*old, NewMemory(MemoryRecord("mem_hand", "by hand", at=-1.0))])
    session = await running.app.state.turns.sessions.get(session_id)
    await memory.remember(session, session.branch()[:1])
    kept = {record.id for record in await memory.all(session_id)}
    assert len(kept) == MOST_MEMORIES
    assert "mem_hand" in kept
    assert "mem_0" not in kept
    assert "mem_4998" in kept


async def test_change_of_a_memory_that_has_changed_is_refused(running: Live) -> None:
    path = await open_chat(running)
    session, store = path.rpartition("/")[2], memory_of(running).store
    memory = await write(running, path, "One.")
    record, before = await store.get(session, memory["id"])
    await running.client.patch(f"{path}/memories/{memory['id']}", json={"text": "Two."})
    with pytest.raises(ConflictError):
        await store.amend(session, before, record)


async def test_replica_sees_what_another_one_wrote(running: Live, redis_url: str) -> None:
    path = await open_chat(running)
    session = path.rpartition("/")[2]
    assert await memories(running, path) == []
    async with connect(redis_url) as redis:
        await MemoryStore(redis).write(session, [NewMemory(MemoryRecord("mem_1", "From elsewhere."))])
    assert [memory["text"] for memory in await memories(running, path)] == ["From elsewhere."]


async def test_session_that_was_opened_anew_remembers_nothing_of_the_one_before(redis: Redis) -> None:
    await redis.hset("oc:{sess}:meta", "created", "2.0")
    with pytest.raises(NotFoundError):
        await MemoryStore(redis).write("sess", [NewMemory(MemoryRecord("mem_1", "x"))], created=1.0)
    assert await redis.keys("oc:{sess}:*") == [b"oc:{sess}:meta"]
