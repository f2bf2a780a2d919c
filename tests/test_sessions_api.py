"""Sessions over HTTP: opened, listed, paged, erased; and what they survive."""

from typing import Any

import httpx
import pytest
from redis import Redis as SyncRedis

from models.renderer import Renderer
from tests.conftest import Server
from tests.live import Live

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
@pytest.mark.parametrize("user", [None, {}, {"name": None, "persona": None}], ids=["null", "empty", "nulls"])
async def test_null_is_absent_from_a_session(live: Live, user: Any) -> None:
    answer = await live.client.post("/sessions", json={"character_id": "lyra", "user": user})
    assert answer.json()["user"] == {"name": "User", "persona": ""}


# Looking back


def test_list_shows_sessions_newest_first(client: httpx.Client, greta: str) -> None:
    opened = [create(client, greta)["id"] for _ in range(5)]
    first = client.get("/sessions", params={"limit": 3}).json()
    second = client.get("/sessions", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    shown = [session["id"] for session in (*first["sessions"], *second["sessions"])]
    assert shown[:5] == opened[::-1]
    told = {"id", "character_id", "user", "version", "created", "updated"}
    opened_with = {"character_version", "follow", "persona_id", "lorebook_ids", "note", "memory", "as_of"}
    assert set(first["sessions"][0]) == told | opened_with | {"checkpoints"}


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
@pytest.mark.parametrize("content", [b"", b"{}", b"null"], ids=["absent", "empty", "null"])
async def test_regeneration_needs_no_body(live: Live, content: bytes) -> None:
    path = f"/sessions/{(await live.client.post('/sessions', json={'character_id': 'lyra'})).json()['id']}"
    await live.client.post(f"{path}/messages", json={"content": "Hello.", "stream": None})
    answer = await live.client.post(f"{path}/regenerate", content=content)
    assert answer.raise_for_status().json()["version"] == 3


def test_reply_that_goes_round_in_a_loop_ends(client: httpx.Client, greta: str, renderer: Renderer) -> None:
    session = create(client, greta)["id"]
    always = {str(renderer.encode(" moon")[-1]): 100}
    turn = say(client, session, max_tokens=200, logit_bias=always)
    assert turn["message"]["finish_reason"] == "stop"
    assert 12 <= turn["usage"]["completion_tokens"] <= 24
    said = [{"role": "user", "content": "Hello."}]
    asked = {"model": greta, "messages": said, "max_tokens": 200, "logit_bias": always}
    assert client.post("/v1/chat/completions", json=asked).json()["usage"]["completion_tokens"] <= 24
    raw = client.post("/v1/chat/completions", json={**asked, "model": "tiny"}).json()
    assert raw["usage"]["completion_tokens"] == 200
