"""The best of several replies: chosen by what the card makes likelier, told alone, the others kept beside it."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from models.engine import EngineError
from models.renderer import Renderer
from tests.fake_engine import FakeEngine, Script
from tests.live import Live, serve_live

pytestmark = pytest.mark.anyio

# The second one is what the card alone would have anybody say.
SAYS = ("I was born in a barrel.", "I was born aboard the Kittiwake.", "Who knows.")
ALONE = {"I was born in a barrel.": -4.0, "I was born aboard the Kittiwake.": -60.0, "Who knows.": -2.0}
BEST_OF_3 = {"content": "Where were you born?", "fidelity": {"n": 3}}


@pytest.fixture
def choosing(running: Live) -> Live:
    """A server whose engine says one of three things, and has said nothing yet."""
    engine = running.engine
    engine.script, engine.replies = Script(says=SAYS, alone=ALONE), 0
    for noted in (engine.prompts, engine.params, engine.scored):
        noted.clear()
    engine.held.clear()
    return running


async def open_session(live: Live) -> str:
    opened = await live.client.post("/sessions", json={"character_id": "lyra"})
    session: str = opened.raise_for_status().json()["id"]
    return f"/sessions/{session}"


async def swipes(live: Live, path: str, message_id: str) -> dict[str, str]:
    """What the message and its siblings say, by id."""
    shown = (await live.client.get(f"{path}/messages/{message_id}/swipes")).raise_for_status().json()["messages"]
    return {message["id"]: message["content"] for message in shown}


async def read_frames(live: Live, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await live.client.post(path, json={**body, "stream": True})
    answer.raise_for_status()
    frames = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert frames[-1] == "[DONE]"
    return [orjson.loads(frame) for frame in frames[:-1]]


async def test_the_reply_that_the_card_explains_best_is_told(choosing: Live) -> None:
    path = await open_session(choosing)
    turn = (await choosing.client.post(f"{path}/messages", json=BEST_OF_3)).raise_for_status().json()
    assert turn["message"]["content"] == "I was born aboard the Kittiwake."
    fidelity = turn["fidelity"]
    assert fidelity["score"] == fidelity["scores"][0] > fidelity["scores"][1] > fidelity["scores"][2]
    assert (len(fidelity["scores"]), fidelity["by"]) == (3, "likelihood")
    assert "messages" not in turn
    assert choosing.engine.params[0].n == 3


async def test_the_others_are_its_siblings(choosing: Live) -> None:
    path = await open_session(choosing)
    turn = (await choosing.client.post(f"{path}/messages", json=BEST_OF_3)).json()
    last = (await choosing.client.get(path)).json()["messages"][-1]
    assert last["content"] == "I was born aboard the Kittiwake."
    said = await swipes(choosing, path, last["id"])
    assert turn["message_ids"][0] == last["id"]
    assert (set(said), set(said.values())) == (set(turn["message_ids"]), set(SAYS))


async def test_the_chat_goes_on_from_the_best(choosing: Live, renderer: Renderer) -> None:
    path = await open_session(choosing)
    await choosing.client.post(f"{path}/messages", json=BEST_OF_3)
    await choosing.client.post(f"{path}/messages", json={"content": "And then?"})
    assert "aboard the Kittiwake" in renderer.decode(choosing.engine.prompts[-1])
    assert "Who knows" not in renderer.decode(choosing.engine.prompts[-1])


async def test_usage_counts_every_candidate(choosing: Live, renderer: Renderer) -> None:
    path = await open_session(choosing)
    usage = (await choosing.client.post(f"{path}/messages", json=BEST_OF_3)).json()["usage"]
    assert usage["completion_tokens"] == sum(len(renderer.encode(text)) + 1 for text in SAYS)


async def test_a_stream_has_the_best_alone(choosing: Live) -> None:
    frames = await read_frames(choosing, f"{await open_session(choosing)}/messages", BEST_OF_3)
    choices = [choice for frame in frames for choice in frame["choices"]]
    assert {choice["index"] for choice in choices} == {0}
    assert "".join(choice["delta"].get("content", "") for choice in choices) == "I was born aboard the Kittiwake."
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]
    finish = next(frame for frame in frames if frame["choices"] and frame["choices"][0]["finish_reason"])
    assert len(finish["fidelity"]["scores"]) == 3
    assert all(choice.get("logprobs") is None for choice in choices)


async def test_channels_are_told_of_the_best(choosing: Live) -> None:
    choosing.engine.script = Script(says=("*shrugs* No.", "*grins* Yes."), alone={"*grins* Yes.": -50.0})
    body = {"content": "Well?", "fidelity": {"n": 2}, "channels": "separate"}
    frames = await read_frames(choosing, f"{await open_session(choosing)}/messages", body)
    deltas = [choice["delta"] for frame in frames for choice in frame["choices"]]
    assert [delta["action"] for delta in deltas if "action" in delta] == ["grins"]


async def test_logprobs_are_told_where_they_are_asked_for(choosing: Live) -> None:
    path = await open_session(choosing)
    told = (await choosing.client.post(f"{path}/messages", json={**BEST_OF_3, "logprobs": True})).json()["message"]
    assert "".join(entry["token"] for entry in told["logprobs"]["content"][:-1]) == told["content"]
    other = (await choosing.client.post(f"{path}/messages", json=BEST_OF_3)).json()["message"]
    assert "logprobs" not in other


async def test_what_is_scored_says_nothing_of_the_card(choosing: Live, renderer: Renderer) -> None:
    path = await open_session(choosing)
    await choosing.client.post(f"{path}/messages", json=BEST_OF_3)
    [bare] = {tuple(prompt) for prompt in choosing.engine.scored}
    text = renderer.decode(bare)
    assert "Lyra" in text
    assert "Where were you born?" in text
    assert "Character Profile" not in text
    assert len(bare) < len(choosing.engine.prompts[0]) / 2


@pytest.mark.parametrize("action", ["regenerate", "auto"])
async def test_other_turns_are_the_best_of_n_too(choosing: Live, action: str) -> None:
    path = await open_session(choosing)
    await choosing.client.post(f"{path}/messages", json={"content": "Where were you born?"})
    answer = await choosing.client.post(f"{path}/{action}", json={"fidelity": {"n": 3}})
    told = answer.raise_for_status().json()
    turn = told["turns"][0] if action == "auto" else told
    assert turn["message"]["content"] == "I was born aboard the Kittiwake."
    assert len(turn["message_ids"]) == 3


async def test_a_reply_goes_on_with_what_the_card_explains_best(choosing: Live) -> None:
    path = await open_session(choosing)
    choosing.engine.script = Script(says=("I was born",))
    await choosing.client.post(f"{path}/messages", json={"content": "Where were you born?"})
    choosing.engine.script = Script(says=(" in bed.", " at sea."), alone={" at sea.": -30.0})
    turn = (await choosing.client.post(f"{path}/continue", json={"fidelity": {"n": 2}})).raise_for_status().json()
    assert turn["message"]["content"] == "I was born at sea."


async def test_a_reply_without_words_is_never_the_best(choosing: Live) -> None:
    choosing.engine.script = Script(says=("", "Bah."), alone={"Bah.": 50.0})
    path = await open_session(choosing)
    turn = (await choosing.client.post(f"{path}/messages", json={**BEST_OF_3, "fidelity": {"n": 2}})).json()
    assert turn["message"]["content"] == "Bah."
    assert turn["fidelity"]["scores"][0] < turn["fidelity"]["scores"][1]


# Chat completions


ASKED = {"model": "lyra", "messages": [{"role": "user", "content": "Where were you born?"}], "fidelity": {"n": 3}}


async def test_a_chat_completion_has_one_choice(choosing: Live) -> None:
    answer = (await choosing.client.post("/v1/chat/completions", json=ASKED)).raise_for_status().json()
    [choice] = answer["choices"]
    assert choice["message"]["content"] == "I was born aboard the Kittiwake."
    assert choice["logprobs"] is None
    assert len(answer["fidelity"]["scores"]) == 3


async def test_a_chat_completion_streams_one_choice(choosing: Live) -> None:
    frames = await read_frames(choosing, "/v1/chat/completions", ASKED)
    assert {choice["index"] for frame in frames for choice in frame["choices"]} == {0}
    assert "fidelity" in frames[-1]


async def test_a_chat_completion_in_a_session_keeps_the_others(choosing: Live) -> None:
    answer = await choosing.client.post("/v1/chat/completions", json=ASKED, headers={"X-Session-Id": "kept"})
    told = answer.raise_for_status().json()
    assert len(told["choices"]) == 1
    assert set((await swipes(choosing, "/sessions/kept", told["message_id"])).values()) == set(SAYS)


# Refusals


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"fidelity": {"n": 17}}, "less than or equal to 16"),
        ({"fidelity": {"n": 0}}, "greater than or equal to 1"),
        ({"fidelity": {"m": 4}}, "fidelity"),
        ({"fidelity": 4}, "fidelity"),
        ({"fidelity": {"n": 2}, "n": 2}, "leave one of them out"),
        ({"fidelity": {"n": 2}, "temperature": 0}, "the same reply"),
    ],
)
async def test_bad_fidelity_is_refused(choosing: Live, body: dict[str, Any], told: str) -> None:
    path = await open_session(choosing)
    answer = await choosing.client.post(f"{path}/messages", json={"content": "Hello.", **body})
    assert answer.status_code == 400
    assert told in answer.text
    assert (await choosing.client.get(path)).json()["version"] == 1


async def test_nobody_is_true_to_no_card(choosing: Live) -> None:
    answer = await choosing.client.post("/v1/chat/completions", json={**ASKED, "model": "fake"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "fidelity")


async def test_the_users_line_is_true_to_no_card(choosing: Live) -> None:
    answer = await choosing.client.post(f"{await open_session(choosing)}/impersonate", json={"fidelity": {}})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "fidelity")


async def test_null_is_no_choice(choosing: Live) -> None:
    path = await open_session(choosing)
    turn = (await choosing.client.post(f"{path}/messages", json={**BEST_OF_3, "fidelity": None})).json()
    assert "fidelity" not in turn
    assert choosing.engine.scored == []


# Faults


async def test_what_cannot_be_judged_is_not_told(choosing: Live) -> None:
    choosing.engine.script = Script(says=SAYS, fails_to_score=EngineError("no scores"))
    path = await open_session(choosing)
    answer = await choosing.client.post(f"{path}/messages", json={**BEST_OF_3, "stream": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_error")
    assert (await choosing.client.get(path)).json()["version"] == 1
    choosing.engine.script = Script(says=SAYS)
    (await choosing.client.post(f"{path}/messages", json=BEST_OF_3)).raise_for_status()


async def test_a_turn_that_is_cancelled_while_it_chooses_has_said_nothing(choosing: Live) -> None:
    choosing.engine.script = Script(says=SAYS, hold_scores=True)
    path = await open_session(choosing)
    asked = asyncio.create_task(choosing.client.post(f"{path}/messages", json=BEST_OF_3))
    await asyncio.wait_for(choosing.engine.held.wait(), 5)
    [running] = choosing.app.state.turns.running._turns
    cancelled = await choosing.client.post(f"{path}/turns/{running.write.turn_id}/cancel")
    assert cancelled.raise_for_status().json()["message_id"] is None
    answer = await asked
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "turn_cancelled")
    assert choosing.engine.running == set()
    assert len((await choosing.client.get(path)).json()["messages"]) == 1


async def test_a_repeated_request_is_told_the_best_again(choosing: Live) -> None:
    path = await open_session(choosing)
    headers = {"Idempotency-Key": "once"}
    first = await choosing.client.post(f"{path}/messages", json=BEST_OF_3, headers=headers)
    again = await choosing.client.post(f"{path}/messages", json=BEST_OF_3, headers=headers)
    assert again.json()["message"] == first.json()["message"]
    assert len(choosing.engine.prompts) == 1


async def test_long_replies_and_long_turns_are_scored_in_bounds(redis: Any, redis_url: str, renderer: Renderer) -> None:
    script = Script(says=("word " * 700, "other " * 700))
    async with serve_live(FakeEngine(renderer, script, max_model_len=4096), redis_url) as live:
        path = await open_session(live)
        body = {"content": "go " * 900, "fidelity": {"n": 2}, "max_tokens": 1500}
        (await live.client.post(f"{path}/messages", json=body)).raise_for_status()
        assert max(map(len, live.engine.scored)) < 400


@pytest.mark.parametrize("stream", [False, True])
def test_the_real_engine_chooses_what_the_card_says(client: httpx.Client, stream: bool) -> None:
    session = client.post("/sessions", json={"character_id": "lyra"}).json()["id"]
    body = {"content": "Where were you born?", "fidelity": {"n": 4}, "temperature": 1, "seed": 3, "stream": stream}
    answer = client.post(f"/sessions/{session}/messages", json=body).raise_for_status()
    last = client.get(f"/sessions/{session}").json()["messages"][-1]
    assert answer.text.count('"fidelity"') == (2 if stream else 1)
    assert "Kittiwake" in last["content"]
    swiped = client.get(f"/sessions/{session}/messages/{last['id']}/swipes").json()["messages"]
    assert len(swiped) == 4
