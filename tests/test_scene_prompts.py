"""What each of a cast is told, what it costs to change speakers, and whose lines are whose."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from models.renderer import Renderer
from tests.fake_engine import Script
from tests.live import Live
from tests.refusals import assert_error
from tests.scenes import SCENE, open_scene, serve_cast, speakers
from tests.talks import post, prompt, say

pytestmark = pytest.mark.anyio
SECRET, MOTIVE = "The candles are in the left drawer.", "She wants everybody to leave."


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    async with serve_cast(renderer, redis_url) as running:
        yield running


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


async def test_users_line_can_be_written_in_a_scene(live: Live) -> None:
    session = await open_scene(live, user={"name": "Dora"})
    await say(live, session, "Who is there?")
    line = await post(live, f"{session}/impersonate")
    assert "speaker" not in line["message"]
    assert prompt(live).endswith("assistant<|end_header_id|>\n\nDora:\n")
    assert "sees through" not in prompt(live)


async def test_what_is_continued_may_begin_with_any_name(live: Live) -> None:
    session = await open_scene(live)
    live.engine.script = Script(says=["I know ", "Ben: a friend."])
    await say(live, session, "Go on.", speaker="ann")
    assert (await post(live, f"{session}/continue"))["message"]["content"] == "I know Ben: a friend."


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


async def test_lore_of_a_member_is_told_to_it_alone(live: Live) -> None:
    book = {"entries": [{"keys": ["cellar"], "content": "The cellar floods.", "enabled": True, "insertion_order": 1}]}
    answer = await live.client.post("/characters", json={"id": "dan", "data": {"name": "Dan", "character_book": book}})
    answer.raise_for_status()
    session = await open_scene(live, "ann", "dan")
    await say(live, session, "What of the cellar?", speaker="ann")
    assert "floods" not in prompt(live)
    await say(live, session, "What of the cellar?", speaker="dan")
    assert "The cellar floods." in prompt(live)
