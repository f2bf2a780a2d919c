"""Durability `replicated` on servers that know WAITAOF: what is answered is on two disks, and nothing else is."""

import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from app.errors import UnavailableError
from app.store import durability
from app.store.connection import connect
from app.store.durability import check_durability
from app.store.sessions import SessionStore
from models.renderer import Renderer
from tests.conversations import exchange, new_session, spoken
from tests.copied_redis import NONE_FOUND, Copied, find_waiting_server
from tests.fake_engine import FakeEngine
from tests.faults import open_session, said
from tests.live import Live, serve_live
from tests.refusals import assert_error

pytestmark = pytest.mark.anyio

SOON_MS = 700


@pytest.fixture(scope="module")
def program() -> str:
    if found := find_waiting_server():
        return found
    pytest.fail(NONE_FOUND)


@pytest.fixture
def copied(program: str, tmp_path: Path) -> Iterator[Copied]:
    servers = Copied(program, tmp_path)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest.fixture
async def first(copied: Copied) -> AsyncIterator[Redis]:
    async with connect(copied.url) as connection:
        yield connection


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for two disks gives up soon."""
    monkeypatch.setattr(durability, "WAIT_MS", SOON_MS)


async def test_server_that_can_wait_is_taken(first: Redis, caplog: pytest.LogCaptureFixture) -> None:
    await check_durability(first, "replicated")
    assert not caplog.records


async def test_answered_turn_outlives_one_of_two_disks(copied: Copied, first: Redis) -> None:
    sessions = SessionStore(first, 30, "replicated")
    session = await sessions.create(new_session())
    for _ in range(20):
        added = exchange(session)
        session = await sessions.commit(session, added, tip=added[-1].id, window=None)
    for name in ("first", "copy"):
        copied.kill(name)
    shutil.rmtree(copied.directory / "first")
    copied.start_alone()
    async with connect(copied.copy_url) as copy:
        kept = await SessionStore(copy, 30).get(session.id)
    assert (kept.version, spoken(kept)) == (session.version, spoken(session))


@pytest.mark.parametrize("fault", ["killed", "stopped", "forgetful"])
async def test_turn_that_is_on_one_disk_is_not_acknowledged(
    copied: Copied, first: Redis, impatient: None, fault: str
) -> None:
    sessions = SessionStore(first, 30, "replicated")
    session = await sessions.create(new_session())
    if fault == "stopped":
        copied.processes["copy"].send_signal(signal.SIGSTOP)
    else:
        copied.kill("copy")
    if fault == "forgetful":
        copied.start_copy("--appendonly", "no")
    added = exchange(session)
    with pytest.raises(UnavailableError) as caught:
        await sessions.commit(session, added, tip=added[-1].id, window=None)
    assert caught.value.error_code == "not_durable"
    assert spoken(await sessions.get(session.id)) == spoken(session.add(added, tip=added[-1].id, window=None))


@pytest.fixture
async def replicated(copied: Copied, renderer: Renderer) -> AsyncIterator[Live]:
    async with serve_live(FakeEngine(renderer), copied.url, durability="replicated") as running:
        yield running


async def say(live: Live, session: str) -> httpx.Response:
    return await live.client.post(
        f"{session}/messages", json={"content": "Hello."}, headers={"Idempotency-Key": "hello"}
    )


async def test_turn_is_sent_again_until_two_disks_have_it(replicated: Live, copied: Copied, impatient: None) -> None:
    session = await open_session(replicated)
    copied.kill("copy")
    for _ in range(2):
        assert_error(await say(replicated, session), 503, code="not_durable")
    copied.start_copy()
    told: dict[str, Any] = (await say(replicated, session)).raise_for_status().json()
    assert told["version"] == 2
    assert [message["id"] for message in await said(replicated, session)][1:] == [told["message_id"]]
