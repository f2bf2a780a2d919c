"""Chats over HTTP: other programs' files become sessions, and sessions go home as their files."""

import io
import zipfile
from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings

from app.sessions.chats import to_chat, with_chat
from characters.chats.reading import read_chat
from characters.chats.writing import write_chat
from tests.chats import HEADER, files, jsonl, parsed, reply, user
from tests.conversations import RENDERER, new_session
from tests.live import Live
from tests.refusals import assert_error

pytestmark = pytest.mark.anyio
CHAT = [HEADER, reply("Come in."), user(), reply("One.", "Two.", "Three.", shown=1), user("Well?")]


@pytest.fixture
def live(running: Live) -> Live:
    """The server that these tests share, which says what it does by itself."""
    running.engine.script.says = []
    return running


async def count_sessions(live: Live) -> int:
    return len((await live.client.get("/sessions", params={"limit": 200})).json()["sessions"])


async def send(live: Live, blob: bytes, **query: Any) -> httpx.Response:
    return await live.client.post("/sessions/import", content=blob, params={"character_id": "lyra", **query})


async def bring(live: Live, *lines: Any, **query: Any) -> dict[str, Any]:
    answer = await send(live, jsonl(*lines), **query)
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def take(live: Live, session_id: str, **query: str) -> httpx.Response:
    return (await live.client.get(f"/sessions/{session_id}/export", params=query)).raise_for_status()


async def say(live: Live, session_id: str, **body: Any) -> dict[str, Any]:
    answer = await live.client.post(f"/sessions/{session_id}/messages", json={"content": "And then?", **body})
    told: dict[str, Any] = answer.raise_for_status().json()
    return told


def last_prompt(live: Live) -> str:
    return live.engine.renderer.decode(live.engine.prompts[-1])


# In


async def test_chat_becomes_a_session_with_its_swipes(live: Live) -> None:
    session = await bring(live, *CHAT)
    assert [message["content"] for message in session["messages"]] == ["Come in.", "Hello.", "Two.", "Well?"]
    assert (session["character_id"], session["user"]["name"], session["version"]) == ("lyra", "Sam", 1)
    assert (session["message_count"], session["branch_length"], session["warnings"]) == (6, 4, [])
    swipe = session["messages"][2]["swipe"]
    assert (swipe["index"], swipe["count"]) == (1, 3)
    shown = (await live.client.get(f"/sessions/{session['id']}")).json()
    assert shown["messages"] == session["messages"]
    assert shown["note"] == {"text": "It rains.", "depth": 2, "role": "system"}


async def test_chat_goes_on_where_it_was_left(live: Live) -> None:
    session = await bring(live, *CHAT[:4])
    await say(live, session["id"])
    prompt = last_prompt(live)
    assert prompt.index("Come in.") < prompt.index("Hello.") < prompt.index("Two.") < prompt.index("And then?")
    assert "Three." not in prompt


async def test_form_says_with_whom_and_who_the_user_is(live: Live) -> None:
    fields = {"character_id": "lyra", "user": "Kim", "user_id": "u1"}
    answer = await live.client.post("/sessions/import", files={"file": ("a.jsonl", jsonl(*CHAT))}, data=fields)
    session = answer.raise_for_status().json()
    assert (session["user"]["name"], session["user_id"]) == ("Kim", "u1")


async def test_hidden_message_is_shown_and_told_to_nobody(live: Live) -> None:
    session = await bring(live, HEADER, reply("Come in."), user("Our secret.", is_system=True), reply("Go on."))
    assert session["messages"][1]["hidden"] is True
    await say(live, session["id"])
    assert "Go on." in last_prompt(live)
    assert "Our secret." not in last_prompt(live)


async def test_strangers_in_a_chat_keep_their_names(live: Live) -> None:
    session = await bring(live, HEADER, reply("Come in."), reply("Who is there?", name="Odo"), user("Me.", name="Sam"))
    assert [message.get("name") for message in session["messages"]] == [None, "Odo", None]
    await say(live, session["id"])
    assert "Odo:\nWho is there?" in last_prompt(live)


async def test_group_becomes_a_cast_by_its_names(live: Live) -> None:
    lines = [HEADER, reply("Come in.", name="Lyra Tamm"), user(), reply("Who is there?", name="Odo")]
    card = {"name": "Odo", "description": "A clerk."}
    odo = (await live.client.post("/characters", json=card)).raise_for_status().json()["id"]
    session = await bring(live, *lines, character_id=["lyra", odo])
    assert [message.get("speaker") for message in session["messages"]] == ["lyra", None, odo]


async def test_bookmarks_are_checkpoints(live: Live) -> None:
    session = await bring(live, HEADER, reply("Come in.", extra={"bookmark_link": "Start"}), user())
    assert session["checkpoints"] == {"Start": session["messages"][0]["id"]}


async def test_variables_of_a_chat_are_there_for_macros(live: Live) -> None:
    header = HEADER | {"chat_metadata": {"variables": {"gold": 7, "list": [1]}}}
    session = await bring(live, header, reply("Come in."))
    stored = await live.app.state.turns.sessions.get(session["id"])
    assert stored.turn_context(stored.branch()).variables == {"gold": "7"}


async def test_openai_messages_become_a_session(live: Live) -> None:
    said = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    answer = await send(live, orjson.dumps({"messages": said}))
    assert [message["content"] for message in answer.json()["messages"]] == ["Hi.", "Hello."]


async def test_large_file_is_read_in_a_process(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.sessions.imports.LARGE_BYTES", 10)
    session = await bring(live, *CHAT)
    assert parsed((await take(live, session["id"])).content) == CHAT
    assert_error(await send(live, b"no chat at all"), 400, code="invalid_json")


async def test_import_that_is_sent_twice_is_done_once(live: Live) -> None:
    before, headers = await count_sessions(live), {"idempotency-key": "once"}
    query = {"character_id": "lyra"}
    first = await live.client.post("/sessions/import", content=jsonl(*CHAT), params=query, headers=headers)
    again = await live.client.post("/sessions/import", content=jsonl(*CHAT), params=query, headers=headers)
    assert first.status_code == 201
    assert again.json() == first.json()
    assert await count_sessions(live) == before + 1


# What is none, and too much


@pytest.mark.parametrize(
    ("blob", "query", "code", "param"),
    [
        (b"no chat", {}, "invalid_json", "file"),
        (b'{"spec": "chara_card_v2"}', {}, "unknown_chat", "file"),
        (jsonl(HEADER), {}, "empty_chat", "file"),
        (jsonl(*CHAT), {"character_id": []}, None, "character_id"),
        (jsonl(*CHAT), {"user_id": "x" * 201}, None, "user_id"),
        (jsonl(*CHAT), {"character_id": [f"c{number}" for number in range(13)]}, "cast_too_large", "character_ids"),
    ],
)
async def test_what_is_no_chat_is_refused(
    live: Live, blob: bytes, query: dict[str, Any], code: str | None, param: str
) -> None:
    before = await count_sessions(live)
    assert_error(await send(live, blob, **query), 400, code=code, param=param)
    assert await count_sessions(live) == before


async def test_unknown_character_is_refused(live: Live) -> None:
    assert_error(await send(live, jsonl(*CHAT), character_id="nobody"), 404)


async def test_several_files_are_no_chat(live: Live) -> None:
    both = [("file", ("a", b"{}")), ("file", ("b", b"{}"))]
    answer = await live.client.post("/sessions/import", files=both, params={"character_id": "lyra"})
    assert "in a ZIP" in assert_error(answer, 400, param="file")


async def test_message_of_two_megabytes_is_refused_by_its_number(live: Live) -> None:
    before = await count_sessions(live)
    answer = await send(live, jsonl(HEADER, user(), reply("word " * 400_000)))
    assert "message 2 of the chat" in assert_error(answer, 400, code="context_length_exceeded", param="file")
    assert await count_sessions(live) == before


async def test_more_messages_than_a_session_holds_are_refused(live: Live) -> None:
    lines = [orjson.dumps(user("x"))] * 20_001
    assert_error(await send(live, b"\n".join(lines)), 400, code="too_many_messages")


async def test_ten_thousand_messages_are_talked_on(live: Live) -> None:
    lines = [user(f"Question {number}.") if number % 2 else reply(f"Answer {number}.") for number in range(10_000)]
    session = await bring(live, HEADER, *lines)
    assert (session["branch_length"], len(session["messages"])) == (10_000, 200)
    assert session["messages"][-1]["content"] == "Question 9999."
    await say(live, session["id"])
    assert "Question 9999." in last_prompt(live)
    assert len(live.engine.prompts[-1]) < live.engine.max_model_len
    assert len((await take(live, session["id"])).content.split(b"\n")) == 10_003


async def test_ten_thousand_swipes_are_kept(live: Live) -> None:
    swipes = [f"Swipe {number}." for number in range(10_000)]
    session = await bring(live, HEADER, user(), reply(*swipes, shown=7))
    assert session["messages"][1]["swipe"]["count"] == 10_000
    line = parsed((await take(live, session["id"])).content)[2]
    assert (line["swipes"], line["swipe_id"]) == (swipes, 7)


# Out


async def test_chat_goes_home_as_it_came(live: Live) -> None:
    session = await bring(live, *CHAT)
    answer = await take(live, session["id"], format="sillytavern")
    assert parsed(answer.content) == CHAT
    assert answer.headers["content-type"] == "application/jsonl"
    assert 'filename="lyra.jsonl"' in answer.headers["content-disposition"]


async def test_what_was_said_here_goes_home_too(live: Live) -> None:
    session = await bring(live, *CHAT[:4])
    live.engine.script.says = ["One reply.", "Another."]
    await say(live, session["id"], n=2)
    lines = parsed((await take(live, session["id"])).content)
    assert lines[:4] == CHAT[:4]
    assert (lines[4]["mes"], lines[4]["is_user"], lines[4]["name"]) == ("And then?", True, "Sam")
    assert (lines[5]["swipes"], lines[5]["swipe_id"]) == (["One reply.", "Another."], 0)
    assert (lines[5]["name"], lines[5]["is_user"]) == ("Lyra Tamm", False)


async def test_another_swipe_of_an_imported_message_is_shown_at_home(live: Live) -> None:
    session = await bring(live, *CHAT[:4])
    following = session["messages"][2]["swipe"]["next"]
    await live.client.post(f"/sessions/{session['id']}/messages/{following}/select")
    line = parsed((await take(live, session["id"])).content)[3]
    assert (line["mes"], line["swipe_id"], line["swipes"]) == ("Three.", 2, ["One.", "Two.", "Three."])


async def test_note_that_was_changed_here_is_the_chats(live: Live) -> None:
    session = await bring(live, *CHAT)
    note = {"text": "It snows.", "depth": 1}
    (await live.client.patch(f"/sessions/{session['id']}", json={"note": note})).raise_for_status()
    metadata = parsed((await take(live, session["id"])).content)[0]["chat_metadata"]
    assert metadata == HEADER["chat_metadata"] | {"note_prompt": "It snows.", "note_depth": 1}


async def test_all_branches_go_home_and_come_back(live: Live) -> None:
    session = await bring(live, *CHAT)
    path = f"/sessions/{session['id']}"
    await live.client.post(f"{path}/messages/{session['messages'][0]['id']}/select", json={"following": False})
    await say(live, session["id"])
    answer = await take(live, session["id"], branches="all")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["Lyra Tamm.jsonl", "Lyra Tamm - Branch #1.jsonl"]
    back = (await send(live, answer.content)).json()
    assert back["message_count"] == 8
    assert [message["content"] for message in back["messages"]][:2] == ["Come in.", "And then?"]


async def test_openai_export_has_what_was_said(live: Live) -> None:
    session = await bring(live, HEADER, reply("Come in."), user("Psst.", is_system=True), user())
    answer = await take(live, session["id"], format="openai")
    said = [{"role": "assistant", "content": "Come in."}, {"role": "user", "content": "Hello."}]
    assert answer.json() == {"messages": said}
    assert answer.headers["content-type"] == "application/json"


async def test_unknown_session_and_format_are_refused(live: Live) -> None:
    assert_error(await live.client.get("/sessions/sess_0/export"), 404)
    session = await bring(live, *CHAT)
    answer = await live.client.get(f"/sessions/{session['id']}/export", params={"format": "pdf"})
    assert answer.status_code == 400


async def test_silent_session_goes_home_as_a_header(live: Live) -> None:
    opened = await live.client.post("/sessions", json={"character_id": "lyra", "greeting": None})
    [header] = parsed((await take(live, opened.json()["id"])).content)
    assert header == {"chat_metadata": {}, "user_name": "User", "character_name": "Lyra Tamm"}


@given(files)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_nothing_of_a_file_is_lost_in_a_session(lines: list[Any]) -> None:
    session = with_chat(new_session(), read_chat(jsonl(*lines)), RENDERER.encode)
    # As Redis gives them: in any order.
    session = replace(session, messages=dict(sorted(session.messages.items())))
    assert parsed(write_chat(to_chat(session), "sillytavern")) == lines
