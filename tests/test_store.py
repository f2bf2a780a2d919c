"""Redis: the server that we start ourselves, and what is written in one step or not at all."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError

from app.errors import ConflictError, NotFoundError, PreconditionError, SessionBusyError, UnavailableError
from app.sessions.session import Message, Session, new_id, open_session
from app.store.characters import CharacterStore
from app.store.connection import answers, connect
from app.store.embedded import EmbeddedRedisError, embedded_redis, find_redis_server
from app.store.sessions import SessionStore
from characters.card import CardData, CharacterCard
from characters.library import load_library
from models.prompt import UserPersona
from models.renderer import load_renderer
from tests.conftest import ROOT, TINY, is_running, wait_until
from tests.strategies import content

RENDERER = load_renderer(str(TINY))
CARD = CharacterCard(data=CardData(name="Odo", first_mes="Good morning, {{user}}."))
LEASE_S = 30.0
KEYS = 8000
# A process that starts Redis as the server does, says so, and waits to be killed.
HOLDER = """
import asyncio, sys
from pathlib import Path
from app.store.embedded import embedded_redis

async def hold():
    async with embedded_redis(Path(sys.argv[1])) as url:
        print(url, flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


@pytest.fixture
def sessions(redis: Redis) -> SessionStore:
    return SessionStore(redis, LEASE_S)


@pytest.fixture
def characters(redis: Redis) -> CharacterStore:
    return CharacterStore(redis)


def new_session() -> Session:
    return open_session("odo", CARD, UserPersona("Mira"), RENDERER)


def exchange(session: Session, said: str = "Hello", answer: str = "Hello.") -> list[Message]:
    """A user's message and its reply, as a turn adds them."""
    asked = Message(new_id("msg"), session.tip, "user", said, RENDERER.encode(said))
    return [asked, Message(new_id("msg"), asked.id, "assistant", answer, RENDERER.encode(answer), "stop")]


def spoken(session: Session) -> list[str]:
    return [message.content for message in session.branch()]


async def remember(url: str, value: str) -> str | None:
    """Write `value`; returns what was there before."""
    async with connect(url) as redis:
        before = await redis.getset("test:value", value)
        return before.decode() if isinstance(before, bytes) else before


async def is_loading(redis: Redis) -> bool:
    try:
        await redis.ping()
    except RedisError as error:
        return isinstance(error, BusyLoadingError)
    raise AssertionError("Redis has loaded its data")


def start(command: list[str | Path]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


@contextmanager
def killed_holder(directory: Path) -> Iterator[str]:
    """The URL of a redis-server whose own server was killed with -9."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        url = holder.stdout.readline().strip()
        yield url
        holder.kill()


# The embedded server


@pytest.mark.anyio
async def test_embedded_redis_listens_on_a_private_socket_alone(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url, connect(url) as redis:
        assert url == f"unix://{tmp_path}/redis.sock"
        assert (tmp_path / "redis.sock").stat().st_mode & 0o777 == 0o700
        assert [*(await redis.config_get("port")).values()] == ["0"]
        assert [*(await redis.config_get("appendonly")).values()] == ["yes"]


@pytest.mark.anyio
async def test_embedded_redis_keeps_its_data(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url:
        await remember(url, "kept")
    async with embedded_redis(tmp_path) as url:
        assert await remember(url, "") == "kept"


@pytest.mark.anyio
async def test_embedded_redis_stops_with_its_server(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url, connect(url) as redis:
        pid = (await redis.info("server"))["process_id"]
    assert not is_running(pid)


@pytest.mark.anyio
async def test_embedded_redis_is_for_one_server(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url:
        with pytest.raises(EmbeddedRedisError, match="is in use by another server: stop it, or set"):
            async with embedded_redis(tmp_path):
                pass
        assert await remember(url, "x") is None


@pytest.mark.anyio
async def test_embedded_redis_takes_over_from_a_killed_server(tmp_path: Path) -> None:
    with killed_holder(tmp_path) as orphan:
        await remember(orphan, "kept")
    async with connect(orphan) as left_behind:
        assert await answers(left_behind)
        pid = (await left_behind.info("server"))["process_id"]
    async with embedded_redis(tmp_path) as url:
        assert await remember(url, "") == "kept"
        wait_until(lambda: not is_running(pid), "the redis-server left behind is gone")


@pytest.mark.anyio
async def test_embedded_redis_takes_over_from_a_server_killed_while_it_loaded(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url, connect(url) as redis:
        pipeline = redis.pipeline(transaction=False)
        for number in range(KEYS):
            pipeline.set(f"test:{number}", "kept")
        await pipeline.execute()
    options = ("--dir", tmp_path, "--unixsocket", tmp_path / "redis.sock", "--port", "0", "--appendonly", "yes")
    slowly = ("--key-load-delay", "500")  # half a millisecond each; it looks up from its work every 1024 keys
    orphan = await asyncio.to_thread(start, [find_redis_server(), *options, *slowly])
    try:
        async with connect(url) as redis:
            while not await is_loading(redis):
                await asyncio.sleep(0)
        async with embedded_redis(tmp_path) as again, connect(again) as redis:
            assert orphan.wait(10) == 0
            assert await redis.dbsize() == KEYS
    finally:
        orphan.kill()
        orphan.wait()


@pytest.mark.anyio
async def test_embedded_redis_starts_where_all_was_killed(tmp_path: Path) -> None:
    with killed_holder(tmp_path) as orphan:
        await remember(orphan, "kept")
        async with connect(orphan) as redis:
            pid = (await redis.info("server"))["process_id"]
    os.kill(pid, signal.SIGKILL)
    assert (tmp_path / "redis.sock").exists()
    assert (tmp_path / "lock").exists()
    async with embedded_redis(tmp_path) as url:
        assert await remember(url, "") == "kept"


@pytest.mark.anyio
async def test_embedded_redis_lives_in_a_deep_directory(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20) / ("deeper" * 20)
    async with embedded_redis(deep) as url:
        await remember(url, "kept")
        folder = Path(url.removeprefix("unix://")).parent
        assert len(url) < 108
        assert folder.stat().st_mode & 0o777 == 0o700
    async with embedded_redis(deep) as again:
        assert again == url
        assert await remember(again, "") == "kept"


@pytest.mark.anyio
async def test_embedded_redis_that_cannot_start_names_its_log(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url:
        await remember(url, "kept")
    for log in (tmp_path / "appendonlydir").rglob("*.aof") if (tmp_path / "appendonlydir").exists() else ():
        log.write_bytes(b"not a log\r\n" * 20)
    if (tmp_path / "appendonly.aof").exists():
        (tmp_path / "appendonly.aof").write_bytes(b"not a log\r\n" * 20)
    with pytest.raises(EmbeddedRedisError, match=r"redis-server ended at start; .*redis\.log says why"):
        async with embedded_redis(tmp_path):
            pass


def test_redis_server_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tmp_path / "redis-server"
    ours.symlink_to(find_redis_server())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis_server() == str(ours)


# Sessions


@pytest.mark.anyio
async def test_session_comes_back_as_it_was_written(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    assert await sessions.get(session.id) == session
    assert session.version == 1
    assert spoken(session) == ["Good morning, Mira."]


@given(content, st.lists(st.integers(0, 2**32 - 1), max_size=50))
def test_token_ids_come_back_as_they_were_written(redis_url: str, text: str, token_ids: list[int]) -> None:
    async def write_and_read() -> Message:
        async with connect(redis_url) as redis:
            store = SessionStore(redis, LEASE_S)
            session = await store.create(new_session())
            said = Message(new_id("msg"), session.tip, "user", text, token_ids)
            await store.commit(session, [said], tip=said.id, window=None)
            return (await store.get(session.id)).branch()[-1]

    message = asyncio.run(write_and_read())
    assert message.content == text
    assert message.token_ids == token_ids


@pytest.mark.anyio
async def test_commit_appends_and_counts(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    added = exchange(session)
    after = await sessions.commit(session, added, tip=added[-1].id, window=added[0].id)
    assert await sessions.get(session.id) == after
    assert after.version == 2
    assert after.window == added[0].id
    assert spoken(after) == ["Good morning, Mira.", "Hello", "Hello."]


@pytest.mark.anyio
async def test_commit_refuses_a_stale_version(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    first, second = exchange(session, "first"), exchange(session, "second")
    after = await sessions.commit(session, first, tip=first[-1].id, window=None)
    with pytest.raises(ConflictError, match="has moved on since version 1"):
        await sessions.commit(session, second, tip=second[-1].id, window=None)
    assert await sessions.get(session.id) == after


@pytest.mark.anyio
async def test_commit_sent_twice_is_done_once(sessions: SessionStore) -> None:
    session = await sessions.acquire((await sessions.create(new_session())).id, "mine")
    added = exchange(session)
    for _ in range(2):
        after = await sessions.commit(session, added, tip=added[-1].id, window=None, lease="mine")
    assert (after.version, (await sessions.get(session.id)).version) == (2, 2)


@pytest.mark.anyio
async def test_commit_to_a_session_opened_anew_is_refused(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    await sessions.delete(session.id)
    anew = await sessions.create(open_session("odo", CARD, UserPersona(), RENDERER, session_id=session.id))
    added = exchange(session)
    with pytest.raises(NotFoundError):
        await sessions.commit(session, added, tip=added[-1].id, window=None)
    assert await sessions.get(session.id) == anew


@pytest.mark.anyio
async def test_concurrent_commits_have_one_winner(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    rivals = [exchange(session, f"said {number}") for number in range(20)]
    outcomes = await asyncio.gather(
        *(sessions.commit(session, added, tip=added[-1].id, window=None) for added in rivals), return_exceptions=True
    )
    winners = [outcome for outcome in outcomes if isinstance(outcome, Session)]
    assert [await sessions.get(session.id)] == winners
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 19


@pytest.mark.anyio
async def test_commit_to_a_deleted_session_leaves_nothing(sessions: SessionStore, redis: Redis) -> None:
    session = await sessions.create(new_session())
    await sessions.delete(session.id)
    added = exchange(session)
    with pytest.raises(NotFoundError):
        await sessions.commit(session, added, tip=added[-1].id, window=None)
    assert await redis.keys("*") == []


@pytest.mark.anyio
async def test_create_refuses_a_taken_id(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    rival = open_session("odo", CARD, UserPersona(), RENDERER, session_id=session.id)
    with pytest.raises(ConflictError, match="already"):
        await sessions.create(rival)
    assert await sessions.get(session.id) == session


@pytest.mark.anyio
async def test_siblings_are_all_kept(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    added = exchange(session, answer="One.")
    session = await sessions.commit(session, added, tip=added[-1].id, window=None)
    other = Message(new_id("msg"), added[0].id, "assistant", "Two.", [1, 2], "stop")
    await sessions.commit(session, [other], tip=other.id, window=None)
    read = await sessions.get(session.id)
    assert spoken(read)[-1] == "Two."
    assert read.branch(added[-1].id)[-1].content == "One."


@pytest.mark.anyio
async def test_delete_erases_every_key(sessions: SessionStore, redis: Redis) -> None:
    session = await sessions.create(new_session())
    await sessions.acquire(session.id, "mine")
    await sessions.delete(session.id)
    assert await redis.keys("*") == []
    with pytest.raises(NotFoundError):
        await sessions.get(session.id)
    with pytest.raises(NotFoundError):
        await sessions.delete(session.id)


@pytest.mark.anyio
async def test_list_pages_from_the_newest(sessions: SessionStore) -> None:
    opened = [(await sessions.create(new_session())).id for _ in range(5)]
    pages, cursor = [], 0
    while True:
        page, following = await sessions.list(offset=cursor, limit=2)
        pages.append([session["id"] for session in page])
        if following is None:
            break
        cursor = following
    assert pages == [opened[:2:-1], opened[2:0:-1], opened[:1]]


# Leases


@pytest.mark.anyio
async def test_lease_is_for_one_turn(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    assert await sessions.acquire(session.id, "mine") == session
    with pytest.raises(SessionBusyError):
        await sessions.acquire(session.id, "another's")


@pytest.mark.anyio
async def test_lease_asked_for_twice_is_ours(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    assert await sessions.acquire(session.id, "mine") == await sessions.acquire(session.id, "mine")


@pytest.mark.anyio
async def test_lease_of_an_unknown_session_is_not_found(sessions: SessionStore, redis: Redis) -> None:
    with pytest.raises(NotFoundError):
        await sessions.acquire("sess_nowhere", "mine")
    assert await redis.keys("*") == []


@pytest.mark.anyio
async def test_lease_is_taken_by_one_of_many(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    outcomes = await asyncio.gather(
        *(sessions.acquire(session.id, f"lease {number}") for number in range(20)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Session) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, SessionBusyError) for outcome in outcomes) == 19


@pytest.mark.anyio
async def test_lease_is_released_by_its_token_alone(sessions: SessionStore) -> None:
    session = await sessions.create(new_session())
    await sessions.acquire(session.id, "mine")
    await sessions.release(session.id, "another's")
    with pytest.raises(SessionBusyError):
        await sessions.acquire(session.id, "another's")
    await sessions.release(session.id, "mine")
    await sessions.acquire(session.id, "another's")


@pytest.mark.anyio
async def test_lease_is_renewed_by_its_token_alone(sessions: SessionStore, redis: Redis) -> None:
    session = await sessions.create(new_session())
    await sessions.acquire(session.id, "mine")
    key = f"oc:{{{session.id}}}:lease"
    await redis.pexpire(key, 5000)
    await sessions.renew(session.id, "another's")
    assert await redis.pttl(key) <= 5000
    await sessions.renew(session.id, "mine")
    assert await redis.pttl(key) > 5000


@pytest.mark.anyio
async def test_lease_runs_out(redis: Redis) -> None:
    sessions = SessionStore(redis, lease_s=0.05)
    session = await sessions.create(new_session())
    await sessions.acquire(session.id, "dead")
    while await redis.exists(f"oc:{{{session.id}}}:lease"):
        await asyncio.sleep(0)
    assert await sessions.acquire(session.id, "mine") == session


@pytest.mark.anyio
async def test_commit_gives_the_lease_back(sessions: SessionStore) -> None:
    session = await sessions.acquire((await sessions.create(new_session())).id, "mine")
    added = exchange(session)
    await sessions.commit(session, added, tip=added[-1].id, window=None, lease="mine")
    await sessions.acquire(session.id, "another's")


@pytest.mark.anyio
async def test_commit_leaves_the_lease_of_another(sessions: SessionStore) -> None:
    session = await sessions.acquire((await sessions.create(new_session())).id, "another's")
    added = exchange(session)
    await sessions.commit(session, added, tip=added[-1].id, window=None, lease="mine")
    with pytest.raises(SessionBusyError):
        await sessions.acquire(session.id, "mine")


@pytest.mark.anyio
async def test_store_without_redis_is_unavailable(tmp_path: Path) -> None:
    async with connect(f"unix://{tmp_path}/no.sock") as nowhere:
        sessions, session = SessionStore(nowhere, LEASE_S), new_session()
        calls = (
            sessions.create(session),
            sessions.get(session.id),
            sessions.acquire(session.id, "mine"),
            sessions.commit(session, [], tip=None, window=None),
            sessions.release(session.id, "mine"),
            sessions.renew(session.id, "mine"),
            sessions.delete(session.id),
            sessions.list(),
            CharacterStore(nowhere).get("odo"),
            CharacterStore(nowhere).list(),
            CharacterStore(nowhere).create("odo", CARD),
        )
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * len(calls)


# Characters


def card(name: str, *tags: str) -> CharacterCard:
    return CharacterCard(data=CardData(name=name, tags=list(tags)))


@pytest.mark.anyio
async def test_character_comes_back_as_it_was_written(characters: CharacterStore) -> None:
    for character_id, shipped in load_library().items():
        assert (await characters.create(character_id, shipped)).card == shipped
        assert (await characters.get(character_id)).card == shipped


@pytest.mark.anyio
async def test_character_id_is_taken_once(characters: CharacterStore) -> None:
    await characters.create("odo", card("Odo"))
    with pytest.raises(ConflictError, match="already"):
        await characters.create("odo", card("Odo the second"))
    assert (await characters.get("odo")).card.name == "Odo"


@pytest.mark.anyio
async def test_unnamed_characters_are_numbered(characters: CharacterStore) -> None:
    made = await asyncio.gather(*(characters.create_unnamed("odo", card("Odo")) for _ in range(8)))
    assert {record.id for record in made} == {"odo", *(f"odo-{number}" for number in range(2, 9))}


@pytest.mark.anyio
async def test_character_changes_have_one_winner(characters: CharacterStore) -> None:
    record = await characters.create("odo", card("Odo"))
    outcomes = await asyncio.gather(
        *(characters.replace(record, card(f"Odo {number}")) for number in range(10)), return_exceptions=True
    )
    assert sum(isinstance(outcome, PreconditionError) for outcome in outcomes) == 9
    assert (await characters.get("odo")).version == 2


@pytest.mark.anyio
async def test_changed_character_is_not_deleted_unseen(characters: CharacterStore) -> None:
    record = await characters.create("odo", card("Odo"))
    await characters.replace(record, card("Odo, changed"))
    with pytest.raises(PreconditionError):
        await characters.delete(record)
    assert (await characters.get("odo")).card.name == "Odo, changed"


@pytest.mark.anyio
async def test_deleted_character_leaves_nothing(characters: CharacterStore, redis: Redis) -> None:
    await characters.delete(await characters.create("odo", card("Odo")))
    assert await redis.keys("*") == []
    with pytest.raises(NotFoundError):
        await characters.get("odo")


@pytest.mark.anyio
async def test_replacing_a_deleted_character_is_not_found(characters: CharacterStore) -> None:
    record = await characters.create("odo", card("Odo"))
    await characters.delete(record)
    with pytest.raises(NotFoundError):
        await characters.replace(record, card("Odo"))


@pytest.mark.anyio
async def test_list_finds_by_name_and_tag(characters: CharacterStore) -> None:
    await characters.create("odo", card("Odo Brann", "Baker", "old"))
    await characters.create("mira", card("MIRA", "thief", "old"))
    await characters.create("straße", card("Straße", "bAKER"))

    async def found(query: str = "", tag: str = "") -> list[str]:
        return [record.id for record in (await characters.list(query=query, tag=tag))[0]]

    assert await found() == ["mira", "odo", "straße"]
    assert await found(query="bran") == ["odo"]
    assert await found(query="mira") == ["mira"]
    assert await found(query="STRASSE") == ["straße"]
    assert await found(tag="baker") == ["odo", "straße"]
    assert await found(tag="old", query="o") == ["odo"]
    assert await found(tag="bake") == []


@pytest.mark.anyio
async def test_library_is_planted_once(characters: CharacterStore) -> None:
    library = {"odo": card("Odo"), "mira": card("Mira"), "una": card("Una")}
    await characters.plant(library)
    await characters.delete(await characters.get("odo"))
    await characters.replace(await characters.get("mira"), card("Mira, mine"))
    await characters.plant(library)
    assert await characters.ids() == ["mira", "una"]
    assert (await characters.get("mira")).card.name == "Mira, mine"


@pytest.mark.anyio
async def test_planting_leaves_a_users_character_of_that_id(characters: CharacterStore) -> None:
    await characters.create("odo", card("My own Odo"))
    await characters.plant({"odo": card("Odo")})
    assert (await characters.get("odo")).card.name == "My own Odo"
