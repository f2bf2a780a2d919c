"""Several characters in one session: who speaks, what each is told, what it costs to change speakers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from app.sessions.cast import Member, find_member, next_in_list, next_naturally
from app.sessions.session import Message
from characters.card import CardData, CharacterCard
from models.engine import EngineError
from models.renderer import Renderer
from tests.fake_engine import FakeEngine, Script
from tests.faults import assert_error_frames
from tests.live import Live, serve_live
from tests.refusals import assert_error

pytestmark = pytest.mark.anyio
REPLIES = ["First reply.", "Second reply.", "Third reply.", "Fourth reply."]
SCENE = "A kitchen at midnight, the power is out."
SECRET, MOTIVE = "The candles are in the left drawer.", "She wants everybody to leave."


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    async with serve_live(FakeEngine(renderer, Script(says=REPLIES)), redis_url) as running:
        for character_id, name in (("ann", "Ann Lee"), ("ben", "Ben"), ("cleo", "Cleo")):
            card: dict[str, Any] = {
                "name": name,
                "description": f"{name} sees through {name}'s own eyes.",
                "first_mes": f"{name} nods.",
            }
            if character_id == "cleo":
                card["group_only_greetings"] = ["{{char}} waves at all of you."]
            answer = await running.client.post("/characters", json={"id": character_id, "data": card})
            answer.raise_for_status()
        yield running


async def open_scene(live: Live, *ids: str, **fields: Any) -> str:
    body = {"character_ids": ids or ["ann", "ben", "cleo"], "scene": SCENE, "greeting": None, **fields}
    answer = await live.client.post("/sessions", json=body)
    return f"/sessions/{answer.raise_for_status().json()['id']}"


async def post(live: Live, path: str, **body: Any) -> dict[str, Any]:
    answer = await live.client.post(path, json=body)
    told: dict[str, Any] = answer.raise_for_status().json()
    return told


async def say(live: Live, session: str, content: str, **more: Any) -> dict[str, Any]:
    return await post(live, f"{session}/messages", content=content, **more)


async def speakers(live: Live, session: str) -> list[str | None]:
    answer = await live.client.get(f"{session}/messages")
    return [message.get("speaker") for message in answer.json()["messages"]]


def prompt(live: Live, number: int = -1) -> str:
    return live.engine.renderer.decode(live.engine.prompts[number])


async def test_session_tells_its_cast(live: Live) -> None:
    session = await open_scene(live, turn_order="manual")
    shown = (await live.client.get(session)).json()
    assert shown["cast"] == [
        {"character_id": "ann", "name": "Ann Lee"},
        {"character_id": "ben", "name": "Ben"},
        {"character_id": "cleo", "name": "Cleo"},
    ]
    assert (shown["scene"], shown["turn_order"]) == (SCENE, "manual")
    listed = (await live.client.get("/sessions")).json()["sessions"]
    assert listed[0]["cast"] == shown["cast"]


async def test_first_of_the_cast_greets_with_what_it_has_for_groups(live: Live) -> None:
    session = await open_scene(live, "cleo", "ann", greeting=0)
    first = (await live.client.get(session)).json()["messages"][0]
    assert (first["content"], first["speaker"]) == ("Cleo waves at all of you.", "cleo")
    plain = await open_scene(live, "ann", "cleo", greeting=0)
    assert (await live.client.get(plain)).json()["messages"][0]["content"] == "Ann Lee nods."


async def test_list_goes_round(live: Live) -> None:
    session = await open_scene(live)
    for _ in range(4):
        await say(live, session, "Go on.")
    assert (await speakers(live, session))[1::2] == ["ann", "ben", "cleo", "ann"]


async def test_client_says_who_speaks_whatever_the_order(live: Live) -> None:
    session = await open_scene(live)
    turn = await say(live, session, "Go on.", speaker="Cleo")
    assert turn["message"]["speaker"] == "cleo"
    again = await post(live, f"{session}/regenerate")
    assert again["message"]["speaker"] == "cleo"
    other = await post(live, f"{session}/regenerate", speaker="ben")
    assert other["message"]["speaker"] == "ben"
    longer = await post(live, f"{session}/continue")
    assert longer["message"]["speaker"] == "ben"


async def test_manual_order_wants_a_speaker(live: Live) -> None:
    session = await open_scene(live, turn_order="manual")
    answer = await live.client.post(f"{session}/messages", json={"content": "Go on."})
    assert "ann, ben, cleo" in assert_error(answer, 400, code="speaker_missing")
    answer = await live.client.post(f"{session}/messages", json={"content": "Go on.", "speaker": "dora"})
    assert_error(answer, 400, code="unknown_speaker", param="speaker")
    assert await speakers(live, session) == []


async def test_stream_says_who_speaks(live: Live) -> None:
    session = await open_scene(live)
    answer = await live.client.post(f"{session}/messages", json={"content": "Go on.", "stream": True})
    assert '"speaker":"ann"' in answer.text.splitlines()[0]


async def test_head_is_the_same_whoever_speaks_and_the_card_comes_last(live: Live) -> None:
    session = await open_scene(live)
    await say(live, session, "Who is there?")
    await say(live, session, "And who else?")
    first, second = live.engine.prompts[-2:]
    assert SCENE in prompt(live)
    assert "Ann Lee sees" in prompt(live, -2)
    assert "Ann Lee sees" not in prompt(live)
    assert "Ben sees" in prompt(live)
    # Up to where the first speaker's card began, the second prompt is the first one.
    renderer = live.engine.renderer
    shared = next(index for index, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1])
    assert renderer.decode(first[:shared]).endswith("Who is there?<|eot_id|><|start_header_id|>")
    assert prompt(live).index("Who is there?") < prompt(live).index("Ben sees")
    assert prompt(live).endswith("assistant<|end_header_id|>\n\nBen:\n")


async def test_lines_begin_with_names_in_prompts_and_not_in_messages(live: Live) -> None:
    session = await open_scene(live, user={"name": "Dora"})
    await say(live, session, "Who is there?")
    await say(live, session, "And who else?")
    assert "Dora:\nWho is there?" in prompt(live)
    assert "Ann Lee:\nFirst reply." in prompt(live)
    assert (await live.client.get(session)).json()["messages"][1]["content"] == "First reply."
    assert {"\nAnn Lee:", "\nBen:", "\nCleo:", "\nDora:"} <= set(live.engine.params[-1].stop)


async def test_nobody_is_told_what_another_one_knows(live: Live) -> None:
    session = await open_scene(live, knowledge={"ben": SECRET}, motives={"cleo": MOTIVE})
    for _ in range(3):
        await say(live, session, "Go on.")
    told = [prompt(live, number) for number in (-3, -2, -1)]
    assert [SECRET in text for text in told] == [False, True, False]
    assert [MOTIVE in text for text in told] == [False, False, True]


async def test_inspector_shows_the_prompt_of_each_of_the_cast(live: Live) -> None:
    session = await open_scene(live, motives={"ben": MOTIVE}, knowledge={"ann": SECRET})
    await say(live, session, "Go on.", speaker="ann")
    shown = {}
    for who in ("ann", "ben"):
        query = {"session": session.rpartition("/")[2], "text": "Well?"}
        answer = await live.client.get(f"/characters/{who}/prompt", params=query)
        shown[who] = "\n".join(block["text"] for block in answer.raise_for_status().json()["blocks"])
    assert "Ann Lee sees through" in shown["ann"]
    assert SECRET in shown["ann"]
    assert SECRET not in shown["ben"]
    assert MOTIVE in shown["ben"]
    assert "Ann Lee:\nFirst reply." in shown["ben"]


async def test_whisper_is_heard_by_those_it_is_for(live: Live) -> None:
    session = await open_scene(live)
    whispered = await say(live, session, "Psst, the cellar.", to=["ben", "Cleo"])
    assert whispered["message"]["speaker"] == "ben"
    assert "Psst, the cellar." in prompt(live)
    shown = (await live.client.get(f"{session}/messages")).json()["messages"]
    assert [message["to"] for message in shown] == [["ben", "cleo"]] * 2
    for speaker, hears in (("ann", False), ("ben", True), ("cleo", True)):
        await say(live, session, "Aloud.", speaker=speaker)
        assert ("Psst, the cellar." in prompt(live)) is hears
        assert ("First reply." in prompt(live)) is hears


async def test_who_does_not_hear_it_cannot_answer_it(live: Live) -> None:
    session = await open_scene(live)
    whispered: dict[str, Any] = {"content": "Psst.", "to": ["ben"]}
    answer = await live.client.post(f"{session}/messages", json=whispered | {"speaker": "ann"})
    assert_error(answer, 400, code="speaker_hears_nothing", param="speaker")
    assert await speakers(live, session) == []
    assert (await say(live, session, **whispered, speaker="ben"))["message"]["speaker"] == "ben"


async def test_so_many_whispers_leave_room_for_the_last_one(live: Live) -> None:
    session = await open_scene(live)
    for number in range(60):
        turn = await say(live, session, f"Number {number}. " + "moon " * 40, to=["ben"])
        assert turn["message"]["speaker"] == "ben"
    assert "Number 59." in prompt(live)
    assert "Number 0." not in prompt(live)


async def test_line_begins_with_what_its_speaker_says(live: Live) -> None:
    session = await open_scene(live)
    live.engine.script = Script(says=["Ben: Well met.", "Ann Lee: I am Ann."])
    assert (await say(live, session, "Go on.", speaker="ann"))["message"]["content"] == "I am Ann."
    await say(live, session, "Go on.", speaker="ben")
    assert "Ann Lee:\nI am Ann.<|eot_id|>" in prompt(live)
    assert "Well met" not in prompt(live)
    assert live.engine.running == set()


async def test_who_spoke_for_another_is_asked_again_and_the_others_are_heard(live: Live) -> None:
    session = await open_scene(live)
    live.engine.script = Script(says=["One.", "Ben: Two.", "Three."])
    turn = await say(live, session, "Go on.", speaker="ann", n=2)
    assert [message["content"] for message in turn["messages"]] == ["One.", "Three."]
    again = live.engine.params[-1]
    renderer = live.engine.renderer
    first = {name: renderer.encode(f"{name}:")[0] for name in ("Ann Lee", "Ben", "Cleo", "User")}
    assert again.n == 1
    assert set(again.logit_bias) == {first["Ben"], first["Cleo"], first["User"]} - {first["Ann Lee"]}


async def test_users_own_name_is_left_out_of_the_users_line(live: Live) -> None:
    session = await open_scene(live, user={"name": "Dora"})
    await say(live, session, "Who is there?")
    live.engine.script = Script(says=["Dora: It is I."])
    assert (await post(live, f"{session}/impersonate"))["message"]["content"] == "It is I."


async def test_what_is_continued_may_begin_with_any_name(live: Live) -> None:
    session = await open_scene(live)
    live.engine.script = Script(says=["I know ", "Ben: a friend."])
    await say(live, session, "Go on.", speaker="ann")
    assert (await post(live, f"{session}/continue"))["message"]["content"] == "I know Ben: a friend."


async def test_greeting_of_a_scene_leaves_its_variables(live: Live) -> None:
    card = {"name": "Eve", "first_mes": "{{setvar::mood::grim}}Eve is here.", "description": "Eve is {{getvar::mood}}."}
    (await live.client.post("/characters", json={"id": "eve", "data": card})).raise_for_status()
    session = await open_scene(live, "eve", "ben", greeting=0)
    await say(live, session, "Go on.", speaker="eve")
    assert "Eve is grim." in prompt(live)


async def test_lore_reads_each_line_as_its_speakers(live: Live) -> None:
    keys = [("Ben: First", "The key is Ben's."), ("Dan: First", "The key is Dan's.")]
    entries = [{"keys": [key], "content": told, "enabled": True, "insertion_order": 1} for key, told in keys]
    card = {"name": "Dan", "character_book": {"entries": entries}}
    (await live.client.post("/characters", json={"id": "dan", "data": card})).raise_for_status()
    session = await open_scene(live, "ben", "dan")
    await say(live, session, "Go on.", speaker="ben")
    await say(live, session, "Go on.", speaker="dan")
    assert "The key is Ben's." in prompt(live)
    assert "The key is Dan's." not in prompt(live)


async def test_list_shows_a_scene_without_its_cards(live: Live, redis: Redis) -> None:
    session = await open_scene(live)
    # What lists don't read needn't even be there.
    await redis.hset(f"oc:{{{session.rpartition('/')[2]}}}:meta", "cast", b"no JSON")
    [shown] = (await live.client.get("/sessions")).raise_for_status().json()["sessions"]
    assert [one["name"] for one in shown["cast"]] == ["Ann Lee", "Ben", "Cleo"]
    assert (shown["scene"], shown["turn_order"]) == (SCENE, "list")


async def test_lore_of_a_member_is_told_to_it_alone(live: Live) -> None:
    book = {"entries": [{"keys": ["cellar"], "content": "The cellar floods.", "enabled": True, "insertion_order": 1}]}
    answer = await live.client.post("/characters", json={"id": "dan", "data": {"name": "Dan", "character_book": book}})
    answer.raise_for_status()
    session = await open_scene(live, "ann", "dan")
    await say(live, session, "What of the cellar?", speaker="ann")
    assert "floods" not in prompt(live)
    await say(live, session, "What of the cellar?", speaker="dan")
    assert "The cellar floods." in prompt(live)


async def test_naturally_who_is_spoken_to_answers(live: Live) -> None:
    session = await open_scene(live, turn_order="natural")
    assert (await say(live, session, "What do you say, cleo?"))["message"]["speaker"] == "cleo"
    assert (await say(live, session, "Lee, or Ben?"))["message"]["speaker"] == "ann"


def member(character_id: str, name: str, **extensions: Any) -> Member:
    return Member(character_id, CharacterCard(data=CardData(name=name, extensions=extensions)))


def line(content: str, speaker: str | None = None) -> Message:
    return Message("m", None, "assistant" if speaker else "user", content, [], speaker=speaker)


def test_naturally_the_talkative_talk() -> None:
    cast = [member("a", "Ann", talkativeness="1"), member("b", "Ben", talkativeness=0), member("c", "Cleo")]
    said = [line("Well?")]
    chosen = [next_naturally(cast, said, f"seed/{number}").character_id for number in range(300)]
    assert chosen == [next_naturally(cast, said, f"seed/{number}").character_id for number in range(300)]
    assert chosen.count("a") > chosen.count("c") > 0
    assert chosen.count("b") == 0


def test_naturally_nobody_follows_themselves() -> None:
    cast = [member("a", "Ann", talkativeness=1), member("b", "Ben", talkativeness=0)]
    assert next_naturally(cast, [line("Ann here.", "a")], "seed").character_id == "b"
    assert next_naturally(cast[:1], [line("Ann here.", "a")], "seed").character_id == "a"


def test_name_inside_a_word_is_no_mention() -> None:
    cast = [member("a", "Ann", talkativeness=0), member("b", "Ben", talkativeness=1)]
    assert next_naturally(cast, [line("An annual bench.")], "seed").character_id == "b"


def test_article_of_a_name_is_no_mention() -> None:
    queen, smith = member("queen", "The Queen"), member("smith", "The Smith")
    said = [Message("m", None, "user", "Where is the smith?", [])]
    assert next_naturally([queen, smith], said, "seed") is smith


def test_id_goes_before_somebody_elses_name() -> None:
    twin, lyra = member("twin", "Lyra"), member("lyra", "Lyra Tamm")
    assert find_member([twin, lyra], "lyra") is lyra
    assert find_member([twin, lyra], "LYRA") is twin


def test_list_goes_on_behind_the_last_speaker() -> None:
    cast = [member("a", "Ann"), member("b", "Ben")]
    assert next_in_list(cast, []).character_id == "a"
    assert next_in_list(cast, [line("x", "b"), line("y")]).character_id == "a"
    assert next_in_list(cast, [line("x", "gone")]).character_id == "a"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("アン", "ねえアンさん、どう？"),
        ("花子", "田中花子さんは？"),
        ("山田 花子", "花子、どう思う？"),
        ("李明", "李明你好"),
        ("สมชาย", "คุณสมชายคิดว่าไง"),
        ("민수", "민수야, 어때?"),
        ("Ann", "Annさんは？"),
    ],
)
def test_name_is_found_where_no_spaces_part_words(name: str, text: str) -> None:
    cast = [member("other", "Ben", talkativeness=1), member("meant", name, talkativeness=0)]
    assert next_naturally(cast, [line(text)], "seed").character_id == "meant"


def test_name_inside_a_loanword_is_no_mention() -> None:
    cast = [member("a", "アン", talkativeness=0), member("b", "Ben", talkativeness=1)]
    assert next_naturally(cast, [line("アンケートです。")], "seed").character_id == "b"


async def test_director_is_asked_for_one_of_the_names(live: Live) -> None:
    session = await open_scene(live, turn_order="director", user={"name": "Dora"})
    live.engine.script = Script(says=["Cleo", "I am Cleo."])
    turn = await say(live, session, "Who speaks?")
    assert (turn["message"]["speaker"], turn["message"]["content"]) == ("cleo", "I am Cleo.")
    asked = live.engine.params[-2].constraint
    assert asked is not None
    # The user has just spoken, and isn't asked for.
    assert asked.choice == ("Ann Lee", "Ben", "Cleo")
    assert "Who speaks next in this scene?" in prompt(live, -2)
    assert "sees through" not in prompt(live, -2)
    assert "Who speaks next" not in prompt(live)


async def test_director_is_asked_behind_the_last_line(live: Live) -> None:
    session = await open_scene(live, turn_order="director")
    live.engine.script = Script(says=["Cleo", "I am Cleo.", "Ben", "I am Ben."])
    await say(live, session, "Who speaks?")
    await post(live, f"{session}/auto")
    said, _, asked = prompt(live, -2).rpartition("I am Cleo.")
    assert said
    assert asked.startswith("<|eot_id|>")
    assert "Who speaks next in this scene?" in asked
    assert asked.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")


async def test_director_may_give_the_word_to_the_user(live: Live) -> None:
    session = await open_scene(live, turn_order="director", user={"name": "Dora"})
    live.engine.script = Script(says=["Ben", "Well.", "Ann Lee", "Yes.", "Dora"])
    turn = await say(live, session, "Talk.")
    assert turn["message"]["speaker"] == "ben"
    among = await post(live, f"{session}/auto", turns=5)
    assert [told["message"]["speaker"] for told in among["turns"]] == ["ann"]
    live.engine.script, live.engine.replies = Script(says=["Dora"]), 0
    assert_error(await live.client.post(f"{session}/auto"), 400, code="users_turn")


async def test_auto_lets_them_talk_among_themselves(live: Live) -> None:
    session = await open_scene(live)
    await say(live, session, "Talk.")
    among = await post(live, f"{session}/auto", turns=3, speaker="cleo")
    assert [told["message"]["speaker"] for told in among["turns"]] == ["cleo", "ann", "ben"]
    assert [told["version"] for told in among["turns"]] == [3, 4, 5]
    assert await speakers(live, session) == [None, "ann", "cleo", "ann", "ben"]


async def test_auto_streams_one_turn_after_another(live: Live) -> None:
    session = await open_scene(live)
    answer = await live.client.post(f"{session}/auto", json={"turns": 3, "stream": True})
    lines = [line for line in answer.text.splitlines() if line]
    assert lines.count("data: [DONE]") == 1
    assert lines[-1] == "data: [DONE]"
    begun = [line for line in lines if '"role":"assistant"' in line]
    order = [name for line in begun for name in ("ann", "ben", "cleo") if f'"speaker":"{name}"' in line]
    assert order == ["ann", "ben", "cleo"]


async def test_auto_ends_with_what_keeps_the_next_turn_from_beginning(live: Live) -> None:
    session = await open_scene(live, turn_order="manual")
    answer = await live.client.post(f"{session}/auto", json={"turns": 2, "speaker": "ann"})
    told = answer.json()
    assert (answer.status_code, answer.headers["x-should-retry"]) == (400, "false")
    assert len(told["turns"]) == 1
    assert told["error"]["code"] == "speaker_missing"
    streamed = await live.client.post(f"{session}/auto", json={"turns": 2, "speaker": "ann", "stream": True})
    *_, failed, done = [line for line in streamed.text.splitlines() if line]
    assert '"code":"speaker_missing"' in failed
    assert done == "data: [DONE]"


async def test_auto_tells_in_a_frame_why_a_later_turn_failed_before_its_first_word(live: Live) -> None:
    session = await open_scene(live)
    live.engine.script = Script(says=REPLIES, hold_after=1)
    streamed = asyncio.create_task(live.client.post(f"{session}/auto", json={"turns": 3, "stream": True}))
    await asyncio.wait_for(live.engine.held.wait(), 10)
    live.engine.script = Script(fail_after=0, failure=EngineError("it failed"))
    live.engine.go.set()
    assert_error_frames((await streamed).text.splitlines(), "engine_error")
    assert await speakers(live, session) == ["ann"]


async def test_auto_tells_what_was_said_with_the_status_of_what_failed(live: Live) -> None:
    session = await open_scene(live)
    live.engine.script = Script(says=REPLIES, hold_after=1)
    headers = {"Idempotency-Key": "among"}
    asked = asyncio.create_task(live.client.post(f"{session}/auto", json={"turns": 3}, headers=headers))
    await asyncio.wait_for(live.engine.held.wait(), 10)
    live.engine.script = Script(fail_after=0, failure=EngineError("it failed"))
    live.engine.go.set()
    failed = await asked
    assert (failed.status_code, failed.headers["x-should-retry"]) == (503, "false")
    assert failed.json()["error"]["code"] == "engine_error"
    assert [told["message"]["speaker"] for told in failed.json()["turns"]] == ["ann"]
    # With its key it goes on where it failed.
    live.engine.script = Script(says=REPLIES)
    again = (await live.client.post(f"{session}/auto", json={"turns": 3}, headers=headers)).raise_for_status().json()
    assert again["turns"][0]["message"]["id"] == failed.json()["turns"][0]["message"]["id"]
    assert await speakers(live, session) == ["ann", "ben", "cleo"]


async def test_auto_speaks_on_with_one_character_too(live: Live) -> None:
    answer = await live.client.post("/sessions", json={"character_id": "ann"})
    session = f"/sessions/{answer.json()['id']}"
    await post(live, f"{session}/auto", turns=2)
    assert [m["role"] for m in (await live.client.get(session)).json()["messages"]] == ["assistant"] * 3


async def test_users_line_can_be_written_in_a_scene(live: Live) -> None:
    session = await open_scene(live, user={"name": "Dora"})
    await say(live, session, "Who is there?")
    line = await post(live, f"{session}/impersonate")
    assert "speaker" not in line["message"]
    assert prompt(live).endswith("assistant<|end_header_id|>\n\nDora:\n")
    assert "sees through" not in prompt(live)


async def test_openai_client_chooses_the_speaker_as_its_model(live: Live) -> None:
    session = (await open_scene(live)).rsplit("/", 1)[1]
    body = {"model": "cleo", "messages": [{"role": "user", "content": "Who is there?"}]}
    answer = await live.client.post("/v1/chat/completions", json=body, headers={"X-Session-Id": session})
    answer.raise_for_status()
    assert await speakers(live, f"/sessions/{session}") == [None, "cleo"]


async def test_scene_that_follows_its_characters_changes_with_them(live: Live) -> None:
    session = await open_scene(live, follow=True)
    pinned = await open_scene(live)
    changed = {"data": {"name": "Ann Lee", "description": "Ann Lee wears red now."}}
    (await live.client.put("/characters/ann", json=changed)).raise_for_status()
    await say(live, session, "Go on.")
    assert "wears red" in prompt(live)
    await say(live, pinned, "Go on.")
    assert "wears red" not in prompt(live)


async def test_scene_that_follows_a_renamed_character_calls_it_by_its_name(live: Live) -> None:
    session = await open_scene(live, follow=True)
    await say(live, session, "Go on.")
    (await live.client.put("/characters/ann", json={"data": {"name": "Anna"}})).raise_for_status()
    await say(live, session, "Go on.")
    assert "a scene with User and Anna, Ben and Cleo" in prompt(live)
    assert "Anna:\nFirst reply." in prompt(live)
    assert "Ann Lee" not in prompt(live)
    assert "\nAnna:" in live.engine.params[-1].stop


async def test_scene_does_not_follow_where_two_would_be_called_alike(live: Live) -> None:
    session = await open_scene(live, follow=True)
    (await live.client.put("/characters/ann", json={"data": {"name": "ben"}})).raise_for_status()
    assert (await say(live, session, "Go on.", speaker="ann"))["message"]["speaker"] == "ann"
    assert prompt(live).endswith("Ann Lee:\n")


async def test_fork_of_a_scene_has_its_cast(live: Live) -> None:
    session = await open_scene(live)
    await say(live, session, "Go on.")
    forked = await post(live, f"{session}/fork")
    turn = await say(live, f"/sessions/{forked['id']}", "Go on.")
    assert turn["message"]["speaker"] == "ben"


async def test_cast_of_a_hundred_is_refused(live: Live) -> None:
    ids = [f"c{number}" for number in range(100)]
    assert_error(await live.client.post("/sessions", json={"character_ids": ids}), 400, code="cast_too_large")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"character_id": "ann", "character_ids": ["ann"]},
        {"character_ids": []},
        {"character_id": "ann", "scene": "A kitchen."},
        {"character_ids": ["ann", "ben"], "motives": {"cleo": "None of this."}},
        {"character_ids": ["ann", "ben"], "turn_order": "shouting"},
    ],
)
async def test_bad_cast_is_a_400(live: Live, body: dict[str, Any]) -> None:
    assert_error(await live.client.post("/sessions", json=body), 400)


async def test_unknown_member_is_a_404(live: Live) -> None:
    assert_error(await live.client.post("/sessions", json={"character_ids": ["ann", "nobody"]}), 404)


async def test_two_of_one_name_cant_play_together(live: Live) -> None:
    (await live.client.post("/characters", json={"id": "ben2", "data": {"name": "BEN"}})).raise_for_status()
    answer = await live.client.post("/sessions", json={"character_ids": ["ben", "ben2"]})
    assert_error(answer, 400, code="cast_names_alike")


@pytest.mark.parametrize("name", ["BEN", " ben", "Ｂｅｎ"])
async def test_nobody_plays_one_of_the_cast(live: Live, name: str) -> None:
    body = {"character_ids": ["ann", "ben"], "user": {"name": name}}
    answer = await live.client.post("/sessions", json=body)
    assert_error(answer, 400, code="cast_names_alike", param="user.name")
    session = await open_scene(live)
    assert_error(await live.client.patch(session, json={"user": {"name": name}}), 400, code="cast_names_alike")


async def test_session_with_one_character_has_no_other_speaker(live: Live) -> None:
    answer = await live.client.post("/sessions", json={"character_id": "ann"})
    path = f"/sessions/{answer.json()['id']}/messages"
    assert_error(await live.client.post(path, json={"content": "Hi.", "speaker": "ben"}), 400, code="no_cast")
    assert_error(await live.client.post(path, json={"content": "Hi.", "to": ["ben"]}), 400, code="unknown_speaker")
