"""Servers and Redis die while many talk: no turn that was answered is missing, none is there twice."""

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults import until
from tests.forking import Forker, run_forker
from tests.own_redis import OwnRedis

SESSIONS, TURNS = 20, 15
SERVER_KILLS, REDIS_KILLS = 30, 10
LEASE_S = 1.0
PATIENCE_S = 240.0
# Refusals of what may be sent again: with the same key, that is safe.
AGAIN = {"idempotency_in_progress", "session_busy", "store_unavailable"}


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    redis = OwnRedis(tmp_path)
    redis.start()
    yield redis
    redis.kill()


class Chat:
    """A client of one session: it sends each turn until that is answered, and keeps the answers."""

    def __init__(self, clients: list[httpx.AsyncClient], chance: random.Random) -> None:
        self._clients = clients
        self._chance = chance
        self.path = ""
        self.told: list[dict[str, Any]] = []
        self.tries = 0

    async def open(self) -> None:
        answer = await self._clients[0].post("/sessions", json={"character_id": "lyra"})
        self.path = f"/sessions/{answer.raise_for_status().json()['id']}"

    async def talk(self) -> None:
        for number in range(TURNS):
            self.told.append(await self._say(number, stream=number % 3 == 0))

    async def _say(self, number: int, *, stream: bool) -> dict[str, Any]:
        while True:
            self.tries += 1
            with suppress(httpx.TransportError):
                answer = await self._chance.choice(self._clients).post(
                    f"{self.path}/messages",
                    json={"content": f"turn {number}", "stream": stream},
                    headers={"Idempotency-Key": f"turn-{number}"},
                )
                if (told := _read(answer, stream=stream)) is not None:
                    return told
            await asyncio.sleep(0.02)

    async def check(self) -> None:
        """That the session has exactly what was answered, in its order."""
        stored = (await self._clients[0].get(f"{self.path}/messages")).json()["messages"][1:]
        said = [message["content"] for message in stored[::2]]
        assert said == [f"turn {number}" for number in range(TURNS)]
        assert [message["id"] for message in stored[1::2]] == [answer["message_id"] for answer in self.told]
        assert [answer["version"] for answer in self.told] == [*range(2, TURNS + 2)]
        assert not any("swipe" in message for message in stored)


def _read(answer: httpx.Response, *, stream: bool) -> dict[str, Any] | None:
    """The answer's last word about the turn; None where it has to be sent again."""
    if answer.status_code != 200:
        assert answer.json()["error"]["code"] in AGAIN, answer.text
        return None
    if not stream:
        told: dict[str, Any] = answer.json()
        return told
    *frames, done = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    last: dict[str, Any] = json.loads(frames[-1])
    assert done == "[DONE]"
    if "error" in last:
        assert last["error"]["code"] in AGAIN
        return None
    return last


async def kill_all_the_time(server: Forker, redis: OwnRedis, chats: list[Chat]) -> int:
    """Kill both as often as is asked for, evenly over all turns. Returns how often the server died."""

    def answered() -> int:
        return sum(len(chat.told) for chat in chats)

    total = SESSIONS * TURNS
    for kill in range(SERVER_KILLS):
        due = (kill + 1) * (total - SESSIONS) // SERVER_KILLS - SESSIONS // 2
        await until(lambda due=due: answered() >= due, "the turns go on", PATIENCE_S)  # type: ignore[misc]  # bound here
        if kill % (SERVER_KILLS // REDIS_KILLS) == 0:
            await asyncio.to_thread(redis.kill)
            await asyncio.to_thread(redis.start)
        server.kill()
        await asyncio.to_thread(server.start)
    return SERVER_KILLS


@pytest.mark.anyio
async def test_no_turn_is_lost_or_doubled_however_often_all_die(own_redis: OwnRedis) -> None:
    chance = random.Random(1)
    with run_forker(redis_url=own_redis.url, lease_s=LEASE_S) as server:
        server.start()
        async with httpx.AsyncClient(base_url=server.url, timeout=10, verify=False) as client:
            chats = [Chat([client], chance) for _ in range(SESSIONS)]
            for chat in chats:
                await chat.open()
            async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
                killing = group.create_task(kill_all_the_time(server, own_redis, chats))
                for chat in chats:
                    group.create_task(chat.talk())
            assert killing.result() == SERVER_KILLS
            # Else nothing was killed in mid-turn.
            assert sum(chat.tries for chat in chats) > SESSIONS * TURNS + SERVER_KILLS
            for chat in chats:
                await chat.check()


@pytest.mark.anyio
async def test_turns_sent_to_any_of_two_servers_keep_their_order(own_redis: OwnRedis) -> None:
    chance = random.Random(2)
    with ExitStack() as stack:
        servers = [stack.enter_context(run_forker(redis_url=own_redis.url, lease_s=LEASE_S)) for _ in range(2)]
        for server in servers:
            server.start()
        async with (
            httpx.AsyncClient(base_url=servers[0].url, timeout=10, verify=False) as one,
            httpx.AsyncClient(base_url=servers[1].url, timeout=10, verify=False) as other,
        ):
            chats = [Chat([one, other], chance) for _ in range(8)]
            for chat in chats:
                await chat.open()
            # Every turn is sent by two clients: the second finds it under way, or done.
            twins = [Chat([one, other], chance) for _ in chats]
            for chat, twin in zip(chats, twins, strict=True):
                twin.path = chat.path
            async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
                for chat in (*chats, *twins):
                    group.create_task(chat.talk())
            for chat in (*chats, *twins):
                await chat.check()
