"""What is trained is what is served, token by token: head, recap, history, tail and reply, of one or of a cast."""

from random import Random
from typing import Any

import pytest

from models.prompt import Insertion, build_prompt
from models.renderer import Renderer, Turn
from models.scene import Scene
from models.sections import IMPERSONATE, build_head, build_insertions, build_recap
from models.stage import heading
from models.synthesis.impersonation import build_impersonation
from models.synthesis.longtalk import build_long_talk, build_remembered_talk
from models.synthesis.personas import imagine_characters
from models.synthesis.scenes import build_cast_scene
from models.synthesis.talk import Talk
from models.training.rows import build_example, build_scene
from tests.live import Live

CARD: dict[str, Any] = {
    "name": "Odo",
    "description": "{{char}} keeps the lock at Wend, and knows {{user}} well.",
    "first_mes": "Mind the rope, {{user}}.",
    "mes_example": "<START>\n{{user}}: Hello.\n{{char}}: Well met.",
    "post_history_instructions": "Speak of water.",
}
USER = {"name": "Sam", "persona": "{{user}} fears the river."}
CHARACTERS = list(imagine_characters(60, 5))


def learned(example: Any, renderer: Renderer) -> str:
    return renderer.decode([int(token) for token in example.token_ids[example.is_reply]])


@pytest.mark.anyio
async def test_a_row_is_the_prompt_of_a_session_and_its_reply(live: Live, renderer: Renderer) -> None:
    live.engine.script.says = ["Deep enough."]
    await live.client.post("/characters", json={"id": "odo", "data": CARD})
    session = (await live.client.post("/sessions", json={"character_id": "odo", "user": USER})).json()
    path = f"/sessions/{session['id']}"
    for content in ("How deep is it?", "And <|eot_id|> in spring?"):
        (await live.client.post(f"{path}/messages", json={"content": content})).raise_for_status()
    messages = (await live.client.get(f"{path}/messages")).json()["messages"]
    row = {
        "card": {"data": CARD},
        "user": USER,
        "messages": [{"role": message["role"], "content": message["content"]} for message in messages],
        "tail": "Speak of water.",
    }
    example = build_example(renderer, row)
    served = live.engine.prompts[-1]
    reply = [*renderer.encode("Deep enough."), renderer.stop_token_ids[0]]
    assert example.token_ids.tolist() == [*served, *reply]
    assert example.is_reply[len(served) :].all()
    assert learned(example, renderer) == "<|eot_id|>".join(["Mind the rope, Sam.", "Deep enough.", "Deep enough.", ""])


@pytest.mark.anyio
async def test_a_casts_row_is_the_prompt_of_its_speaker(live: Live, renderer: Renderer) -> None:
    live.engine.script.says = ["Deep enough."]
    for name in ("Odo", "Ann"):
        await live.client.post("/characters", json={"id": name.lower(), "data": {**CARD, "name": name}})
    body = {"character_ids": ["odo", "ann"], "user": USER, "scene": "A lock at night.", "greeting": None}
    session = (await live.client.post("/sessions", json=body)).raise_for_status().json()
    for speaker in ("odo", "ann"):
        asked = {"content": "How deep is it?", "speaker": speaker}
        (await live.client.post(f"/sessions/{session['id']}/messages", json=asked)).raise_for_status()
    said = {"role": "user", "content": "How deep is it?", "name": "Sam"}
    answers = [{"role": "assistant", "content": "Deep enough.", "name": name} for name in ("Odo", "Ann")]
    row = {
        "card": {"data": {**CARD, "name": "Ann"}},
        "user": USER,
        "scenario": "A lock at night.",
        "stage": {"names": ["Odo", "Ann"], "speaker": "Ann"},
        "messages": [said, answers[0], said, answers[1]],
    }
    example = build_example(renderer, row)
    served = live.engine.prompts[-1]
    assert example.token_ids[: len(served)].tolist() == served
    assert learned(example, renderer) == "Deep enough.<|eot_id|>"
    assert not example.is_reply[: len(served)].any()


@pytest.mark.anyio
async def test_a_row_of_an_impersonation_is_the_prompt_that_asks_for_it(live: Live, renderer: Renderer) -> None:
    live.engine.script.says = ["Deep enough."]
    await live.client.post("/characters", json={"id": "odo", "data": CARD})
    session = (await live.client.post("/sessions", json={"character_id": "odo", "user": USER})).json()
    path = f"/sessions/{session['id']}"
    (await live.client.post(f"{path}/messages", json={"content": "How deep is it?"})).raise_for_status()
    messages = (await live.client.get(f"{path}/messages")).json()["messages"]
    (await live.client.post(f"{path}/impersonate", json={})).raise_for_status()
    request = IMPERSONATE.replace("{{user}}", "Sam").replace("{{char}}", "Odo")
    said = [{"role": message["role"], "content": message["content"]} for message in messages]
    asked = [{"role": "system", "content": request}, {"role": "assistant", "content": "Deep enough."}]
    row = {"card": {"data": CARD}, "user": USER, "messages": [*said, *asked], "tail": "Speak of water."}
    reply = [*renderer.encode("Deep enough."), renderer.stop_token_ids[0]]
    assert build_example(renderer, row).token_ids.tolist() == [*live.engine.prompts[-1], *reply]


def test_a_line_of_the_users_is_learned_and_could_have_been_said(renderer: Renderer) -> None:
    for number, character in enumerate(CHARACTERS):
        row = build_impersonation(character, Random(number))
        *said, asked, line = row["messages"]
        assert asked["content"].startswith(f"Write what {character.user.name} says next")
        assert said[-1]["role"] == line["role"] == "assistant"
        assert learned(build_example(renderer, row), renderer).endswith(f"{line['content']}<|eot_id|>")


def test_a_row_of_a_cut_talk_is_its_prompt(renderer: Renderer) -> None:
    for number, character in enumerate(CHARACTERS):
        row = build_long_talk(character, Random(number))
        ids = build_example(renderer, row).token_ids.tolist()
        turns = [Turn(message["role"], renderer.encode(message["content"])) for message in row["messages"]]
        encode = renderer.encode
        head = [*build_head(encode, build_scene(row)), *build_recap(encode, row.get("recap", ""))]
        tail = [Insertion(Turn("system", encode(text)))] if (text := row.get("tail")) else []
        prompt = build_prompt(renderer, head, turns[:-1], inserted=tail, limit_tokens=100_000).token_ids
        assert ids[: len(prompt)] == prompt


def test_a_row_of_memories_is_its_prompt(renderer: Renderer) -> None:
    rows = [build_remembered_talk(character, Random(number)) for number, character in enumerate(CHARACTERS)]
    assert sum("remembers\n- " in row["tail"] for row in rows) == len(rows)
    for row in rows:
        ids = build_example(renderer, row).token_ids.tolist()
        scene = build_scene(row)
        lines = row["tail"].split("remembers\n")[1].split("\n\n")[0].splitlines()
        told = Scene(scene.card, scene.user, memories=lines)
        turns = [Turn(message["role"], renderer.encode(message["content"])) for message in row["messages"]]
        prompt = build_prompt(
            renderer,
            build_head(renderer.encode, scene),
            turns[:-1],
            inserted=build_insertions(renderer.encode, told),
            limit_tokens=100_000,
        )
        assert ids[: len(prompt.token_ids)] == prompt.token_ids


def test_what_is_no_longer_told_is_forgotten() -> None:
    forgotten = 0
    for number, character in enumerate(CHARACTERS):
        talk = Talk(character, Random(number))
        for _ in range(8):
            talk.memory.tell()
        before = set(talk.memory.facts)
        told = " ".join(text for _, text in talk.conversation.messages[:8])
        talk.memory.keep(told)
        kept = {kind: fact for kind, fact in talk.memory.facts.items() if kind not in character.facts}
        assert all(fact["f"].casefold() in told.casefold() for fact in kept.values())
        assert set(talk.memory.due()) <= set(talk.memory.facts)
        forgotten += len(before) - len(talk.memory.facts)
    assert len(CHARACTERS) < forgotten < 6 * len(CHARACTERS)


def test_a_scene_teaches_its_last_line_alone(renderer: Renderer) -> None:
    for number in range(20):
        row = build_cast_scene(CHARACTERS[number : number + 3], Random(number))
        last = row["messages"][-1]
        assert last["name"] == row["stage"]["speaker"]
        example = build_example(renderer, row)
        assert learned(example, renderer) == f"{last['content']}<|eot_id|>"
        text = renderer.decode(example.token_ids.tolist())
        assert all(heading(message["name"]) + message["content"] in text for message in row["messages"])


def test_rows_are_the_same_for_the_same_seed() -> None:
    for build in (build_impersonation, build_long_talk, build_remembered_talk):
        assert build(CHARACTERS[0], Random(1)) == build(CHARACTERS[0], Random(1))
    assert build_cast_scene(CHARACTERS[:3], Random(1)) == build_cast_scene(CHARACTERS[:3], Random(1))
