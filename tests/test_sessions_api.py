"""Sessions over HTTP: opened, listed, paged, erased; and what they survive."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx
import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from app.sessions.session import Message, new_id, open_session
from app.store.sessions import SessionStore
from characters.card import CardData, CharacterCard
from models.prompt import UserPersona, head_text
from models.renderer import Renderer
from tests.conftest import Server
from tests.fake_engine import FakeEngine
from tests.live import Live, serve_live

CARD: dict[str, Any] = {
    "name": "Greta",
    "first_mes": "Good morning, {{user}}. I am {{char}}.",
    "alternate_greetings": ["You again, {{user}}?", "{{CHAR}} nods."],
}


@pytest.fixture(scope="module")
def greta(client: httpx.Client) -> str:
    """A character with three greetings."""
    character: str = client.post("/characters", json=CARD).json()["id"]
    return character


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    async with serve_live(FakeEngine(renderer), redis_url) as running:
        yield running


def create(client: httpx.Client, character: str, **fields: Any) -> dict[str, Any]:
    answer = client.post("/sessions", json={"character_id": character, **fields})
    assert answer.status_code == 201, answer.text
    session: dict[str, Any] = answer.json()
    return session


def say(client: httpx.Client, session: str, content: str = "Hello.", **fields: Any) -> dict[str, Any]:
    answer = client.post(f"/sessions/{session}/messages", json={"content": content, "max_tokens": 4, **fields})
    assert answer.status_code == 200, answer.text
    turn: dict[str, Any] = answer.json()
    return turn


def messages(client: httpx.Client, session: str, **query: Any) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = client.get(f"/sessions/{session}/messages", params=query).json()["messages"]
    return shown


# Opening


def test_session_opens_with_the_first_greeting(client: httpx.Client, greta: str) -> None:
    answer = client.post("/sessions", json={"character_id": greta})
    session = answer.json()
    assert answer.headers["location"] == f"/sessions/{session['id']}"
    assert (session["character_id"], session["version"]) == (greta, 1)
    assert session["user"] == {"name": "User", "persona": ""}
    [greeting] = session["messages"]
    assert (greeting["role"], greeting["content"]) == ("assistant", "Good morning, User. I am Greta.")
    assert set(greeting) == {"id", "role", "content"}


@pytest.mark.parametrize(
    ("greeting", "text"),
    [
        (0, "Good morning, Mira. I am Greta."),
        (1, "You again, Mira?"),
        (2, "Greta nods."),
        ("Hm, {{user}}.", "Hm, Mira."),
    ],
)
def test_session_opens_with_the_greeting_asked_for(client: httpx.Client, greta: str, greeting: Any, text: str) -> None:
    session = create(client, greta, greeting=greeting, user={"name": "Mira"})
    assert [message["content"] for message in session["messages"]] == [text]


@pytest.mark.parametrize("greeting", [None, "", "  "])
def test_session_can_open_in_silence(client: httpx.Client, greta: str, greeting: str | None) -> None:
    session = create(client, greta, greeting=greeting)
    assert session["messages"] == []
    assert say(client, session["id"])["version"] == 2


def test_greeting_out_of_range_is_refused(client: httpx.Client, greta: str) -> None:
    answer = client.post("/sessions", json={"character_id": greta, "greeting": 3})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "greeting"
    assert "has 3" in answer.json()["error"]["message"]


def test_character_without_a_greeting_opens_in_silence(client: httpx.Client) -> None:
    client.post("/characters", json={"id": "mute", "name": "Mute"}).raise_for_status()
    assert create(client, "mute")["messages"] == []
    assert client.post("/sessions", json={"character_id": "mute", "greeting": 1}).status_code == 400


def test_session_knows_who_the_user_plays(client: httpx.Client, greta: str) -> None:
    session = create(client, greta, user={"name": " Mira ", "persona": "A thief, wary of {{char}}"})
    assert session["user"] == {"name": "Mira", "persona": "A thief, wary of {{char}}"}


@pytest.mark.anyio
async def test_users_persona_is_in_the_prompt(live: Live) -> None:
    user = {"name": "{{char}}", "persona": "A thief, wary of {{char}}"}
    opened = await live.client.post("/sessions", json={"character_id": "lyra", "user": user})
    await live.client.post(f"/sessions/{opened.json()['id']}/messages", json={"content": "Hello."})
    prompt = live.engine.renderer.decode(live.engine.prompts[-1])
    assert "# About {{char}}\nA thief, wary of Lyra Tamm" in prompt
    assert "and {{char}}'s small ship has put in" in prompt


# Looking back


def test_list_shows_sessions_newest_first(client: httpx.Client, greta: str) -> None:
    opened = [create(client, greta)["id"] for _ in range(5)]
    first = client.get("/sessions", params={"limit": 3}).json()
    second = client.get("/sessions", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    shown = [session["id"] for session in (*first["sessions"], *second["sessions"])]
    assert shown[:5] == opened[::-1]
    assert set(first["sessions"][0]) == {"id", "character_id", "user", "version", "created", "updated"}


def test_messages_page_from_the_oldest(client: httpx.Client, greta: str) -> None:
    session = create(client, greta)["id"]
    for number in range(3):
        say(client, session, f"Number {number}.")
    whole = messages(client, session)
    assert len(whole) == 7
    pages, after = [], None
    while True:
        page = client.get(
            f"/sessions/{session}/messages", params={"limit": 3} | ({"after": after} if after else {})
        ).json()
        pages.append(page["messages"])
        if (after := page["next_cursor"]) is None:
            break
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [message for page in pages for message in page] == whole


def test_session_is_read_with_its_messages(client: httpx.Client, greta: str) -> None:
    opened = create(client, greta)
    turn = say(client, opened["id"])
    read = client.get(f"/sessions/{opened['id']}").json()
    assert read["version"] == turn["version"] == 2
    assert read["messages"] == messages(client, opened["id"])
    assert read["messages"][-1] == turn["message"]


def test_reply_says_why_it_ended(client: httpx.Client, greta: str) -> None:
    session = create(client, greta)["id"]
    turn = say(client, session, max_tokens=3, ignore_eos=True)
    assert turn["message"]["finish_reason"] == "length"
    assert messages(client, session)[-1]["finish_reason"] == "length"


def test_reply_tells_logprobs_when_asked(client: httpx.Client, greta: str) -> None:
    message = say(client, create(client, greta)["id"], logprobs=True, ignore_eos=True)["message"]
    assert len(message["logprobs"]["content"]) == 4


# Erasing


def test_deleted_session_leaves_no_key(client: httpx.Client, server: Server, greta: str) -> None:
    session = create(client, greta)["id"]
    say(client, session)
    client.post(f"/sessions/{session}/regenerate", json={"max_tokens": 4}).raise_for_status()
    with SyncRedis(unix_socket_path=f"{server.data_dir}/redis/redis.sock") as redis:
        assert redis.keys(f"*{session}*")
        assert client.delete(f"/sessions/{session}").status_code == 204
        assert redis.keys(f"*{session}*") == []
        assert redis.zscore("oc:sessions", session) is None
    assert client.get(f"/sessions/{session}").status_code == 404
    assert session not in [shown["id"] for shown in client.get("/sessions").json()["sessions"]]


# Regenerating


def test_greeting_is_not_regenerated(client: httpx.Client, greta: str) -> None:
    answer = client.post(f"/sessions/{create(client, greta)['id']}/regenerate", json={})
    assert answer.status_code == 400
    assert "greeting" in answer.json()["error"]["message"]


def test_silence_is_not_regenerated(client: httpx.Client, greta: str) -> None:
    answer = client.post(f"/sessions/{create(client, greta, greeting=None)['id']}/regenerate", json={})
    assert answer.status_code == 400
    assert "nothing to regenerate" in answer.json()["error"]["message"]


def test_refused_regeneration_leaves_the_session_free(client: httpx.Client, greta: str) -> None:
    session = create(client, greta)["id"]
    client.post(f"/sessions/{session}/regenerate", json={})
    assert say(client, session)["version"] == 2


def test_chat_goes_on_from_the_regenerated_reply(client: httpx.Client, greta: str) -> None:
    session = create(client, greta)["id"]
    say(client, session)
    swiped = client.post(f"/sessions/{session}/regenerate", json={"max_tokens": 4, "seed": 9}).json()["message"]
    say(client, session, "And then?")
    assert [message["id"] for message in messages(client, session)][2] == swiped["id"]


@pytest.mark.anyio
async def test_regeneration_asks_with_the_same_prompt(live: Live) -> None:
    path = f"/sessions/{(await live.client.post('/sessions', json={'character_id': 'lyra'})).json()['id']}"
    await live.client.post(f"{path}/messages", json={"content": "Hello."})
    await live.client.post(f"{path}/regenerate", json={})
    asked, again = live.engine.prompts
    assert asked == again


# The prompt of a session


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
    session = open_session("odo", CharacterCard(data=CardData(name="Odo")), UserPersona(), renderer)
    assert session.under(renderer) is session


@pytest.mark.anyio
async def test_session_under_another_model_is_encoded_anew(renderer: Renderer, redis: Redis) -> None:
    store, other = SessionStore(redis, 15), OtherRenderer(renderer)
    card = CharacterCard(data=CardData(name="Odo", first_mes="Good morning."))
    session = await store.create(open_session("odo", card, UserPersona(), renderer))
    said = Message(new_id("msg"), session.tip, "user", "Hello.", renderer.encode("Hello."))
    session = await store.commit(session, [said], tip=said.id, window=said.id)
    moved = (await store.get(session.id)).under(other)
    assert moved.head == other.encode(head_text(card))
    assert moved.window is None
    await store.commit(moved, [], tip=moved.tip, window=moved.window)
    read = await store.get(session.id)
    assert read.fingerprint == "another model"
    assert [message.token_ids for message in read.branch()] == [
        other.encode(text) for text in ("Good morning.", "Hello.")
    ]
    assert read == replace(moved, version=read.version, updated=read.updated, recoded=False)


# What is measured


NAMES = (
    "opencharacter_time_to_first_token_seconds_bucket",
    "opencharacter_inter_token_latency_seconds_bucket",
    "opencharacter_request_seconds_bucket",
    "opencharacter_prompt_tokens_total",
    "opencharacter_cached_tokens_total",
    "opencharacter_completion_tokens_total",
    "opencharacter_requests_running",
    "opencharacter_requests_waiting",
    "opencharacter_requests_total",
    "opencharacter_errors_total",
    "opencharacter_sessions_committed_total",
)


def read_metrics(client: httpx.Client) -> dict[str, float]:
    """Sample by name with its labels."""
    lines = client.get("/metrics").text.splitlines()
    samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples}


def test_metrics_tell_what_dashboards_read(client: httpx.Client, greta: str) -> None:
    say(client, create(client, greta)["id"])
    client.get("/sessions/nowhere")
    names = {sample.partition("{")[0] for sample in read_metrics(client)}
    assert names >= set(NAMES)


def test_metrics_count_a_turn(client: httpx.Client, greta: str) -> None:
    session = create(client, greta)["id"]
    before = read_metrics(client)
    usage = say(client, session, ignore_eos=True)["usage"]
    grown = {name: value - before.get(name, 0) for name, value in read_metrics(client).items()}
    assert grown["opencharacter_prompt_tokens_total"] == usage["prompt_tokens"]
    assert grown["opencharacter_cached_tokens_total"] == usage["prompt_tokens_details"]["cached_tokens"]
    assert grown["opencharacter_completion_tokens_total"] == usage["completion_tokens"] == 4
    assert grown["opencharacter_sessions_committed_total"] == 1
    assert grown["opencharacter_time_to_first_token_seconds_count"] == 1
    assert grown['opencharacter_requests_total{endpoint="sessions",finish_reason="length"}'] == 1
    assert grown["opencharacter_requests_running"] == grown["opencharacter_requests_waiting"] == 0


def test_metrics_have_no_ids_in_labels(client: httpx.Client, greta: str) -> None:
    session = create(client, greta)["id"]
    turn = say(client, session)
    for path in (f"/sessions/{session}x", "/characters/nobody", "/v1/models/nobody", "/nowhere"):
        client.get(path)
    text = client.get("/metrics").text
    for secret in (session, turn["message"]["id"], greta, "lyra", "nobody", "nowhere"):
        assert secret not in text
    labels = set(re.findall(r'(\w+)="', text))
    assert labels <= {"le", "endpoint", "finish_reason", "kind"}
