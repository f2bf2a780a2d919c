"""Who of a cast speaks next: by the list, as the client says, who is spoken to, or whom a director chooses."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from app.sessions.cast import Member, find_member, next_in_list, next_naturally
from app.sessions.message import Message
from characters.card import CardData, CharacterCard
from models.renderer import Renderer
from tests.fake_engine import Script
from tests.live import Live
from tests.refusals import assert_error
from tests.scenes import open_scene, serve_cast, speakers
from tests.talks import post, prompt, say

pytestmark = pytest.mark.anyio


@pytest.fixture
async def live(renderer: Renderer, redis: Redis, redis_url: str) -> AsyncIterator[Live]:
    async with serve_cast(renderer, redis_url) as running:
        yield running


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


async def test_openai_client_chooses_the_speaker_as_its_model(live: Live) -> None:
    session = (await open_scene(live)).rsplit("/", 1)[1]
    body = {"model": "cleo", "messages": [{"role": "user", "content": "Who is there?"}]}
    answer = await live.client.post("/v1/chat/completions", json=body, headers={"X-Session-Id": session})
    answer.raise_for_status()
    assert await speakers(live, f"/sessions/{session}") == [None, "cleo"]


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
