"""What the engine is asked over OpenAI's surface: the transcript that was sent, the instructions as they are now."""

from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.live import Live
from tests.refusals import CHAT

KEPT = {"X-Session-Id": "kept"}


def system(text: str) -> dict[str, str]:
    return {"role": "system", "content": text}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


async def ask(live: Live, *messages: dict[str, str], headers: dict[str, str] = KEPT, **fields: Any) -> httpx.Response:
    body = {"model": "lyra", "messages": messages, **fields}
    answer = await live.client.post(CHAT, json=body, headers=headers)
    return answer.raise_for_status()


def asked(live: Live) -> tuple[str, str]:
    """The last prompt, cut in two before its last system message."""
    prompt = live.engine.renderer.decode(live.engine.prompts[-1])
    head, mark, tail = prompt.rpartition("<|start_header_id|>system<|end_header_id|>")
    return head, mark + tail


def count_common(before: list[int], after: list[int]) -> int:
    """How many ids both begin with."""
    pairs = zip(before, after, strict=False)
    return next((count for count, (one, other) in enumerate(pairs) if one != other), min(len(before), len(after)))


# Instructions in a session


@pytest.mark.anyio
async def test_new_instructions_stand_before_the_last_message(live: Live) -> None:
    await ask(live, user("Hello."))
    await ask(live, system("Speak of the sea, {{user}}."), user("And now?"))
    before, tail = asked(live)
    assert "Hello." in before
    assert "Speak of the sea, User.<|eot_id|><|start_header_id|>user" in tail
    assert tail.count("<|start_header_id|>user") == 1


@pytest.mark.anyio
async def test_instructions_that_the_session_began_with_are_said_once(live: Live) -> None:
    for text in ("Hello.", "And now?"):
        await ask(live, system("Speak of the sea."), system("Rhyme."), user(text))
        head, _ = asked(live)
        assert live.engine.renderer.decode(live.engine.prompts[-1]).count("Speak of the sea.") == 1
        assert "# Instructions\nSpeak of the sea.\n\nRhyme." in head or "Hello." not in head


@pytest.mark.anyio
async def test_added_instructions_alone_are_said_anew(live: Live) -> None:
    await ask(live, system("Speak of the sea."), user("Hello."))
    await ask(live, system("Speak of the sea."), user("Hello."), system("Rhyme."), user("And now?"))
    before, tail = asked(live)
    assert before.count("Speak of the sea.") == 1
    assert "Rhyme." in tail
    assert "Speak of the sea." not in tail


@pytest.mark.anyio
async def test_changed_instructions_are_said_anew(live: Live) -> None:
    await ask(live, system("Speak of the sea."), user("Hello."))
    await ask(live, system("Speak of the moon."), user("And now?"))
    assert "Speak of the moon." in asked(live)[1]


@pytest.mark.anyio
async def test_instructions_inside_the_first_transcript_are_said(live: Live) -> None:
    await ask(live, user("One."), system("Rhyme."), user("Two."))
    before, tail = asked(live)
    assert "One." in before
    assert "Rhyme." in tail


@pytest.mark.anyio
async def test_instructions_leave_the_history_as_it_was(live: Live) -> None:
    await ask(live, user("Hello."))
    await ask(live, system("Rhyme."), user("And now?"))
    await ask(live, user("And then?"))
    first, _, last = (live.engine.renderer.decode(prompt) for prompt in live.engine.prompts)
    assert last.startswith(first)
    assert "Rhyme." not in last


# Opening a session


@pytest.mark.anyio
@pytest.mark.parametrize("fields", [{"messages": [user("moon " * 3000)]}, {"model": "fake"}], ids=["length", "model"])
async def test_refused_first_request_opens_no_session(live: Live, fields: dict[str, Any]) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        await ask(live, user("Hello."), **fields)
    assert (await live.client.get("/sessions")).json()["sessions"] == []
    assert (await ask(live, user("Hello."))).json()["version"] == 2


@pytest.mark.anyio
async def test_session_is_read_once_a_turn(live: Live) -> None:
    await ask(live, user("Hello."))
    redis = live.app.state.redis
    await redis.config_resetstat()
    await ask(live, user("And now?"))
    stats = await redis.info("commandstats")
    # The session's fields: of its messages and their ids all are known.
    assert stats["cmdstat_hgetall"]["calls"] == 1


@pytest.mark.anyio
async def test_session_with_another_character_is_left_free(live: Live) -> None:
    await ask(live, user("Hello."))
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        await ask(live, user("Hello."), model="osbern")
    assert (await ask(live, user("And now?"))).json()["version"] == 3


# Transcripts


@pytest.mark.anyio
async def test_growing_transcript_keeps_most_of_its_prompt(live: Live) -> None:
    said = []
    for number in range(60):
        said.append(user(f"{number}: the moon is up, and the boats are out again." + " Row!" * (number % 7)))
        answer = await ask(live, *said, headers={}, max_tokens=20)
        said.append({"role": "assistant", "content": answer.json()["choices"][0]["message"]["content"]})
    prompts = live.engine.prompts
    assert max(map(len, prompts)) <= live.engine.max_model_len - 20
    assert sum(len(prompt) for prompt in prompts[-20:]) > 20 * 0.6 * live.engine.max_model_len
    kept = [count_common(before, after) / len(before) for before, after in pairwise(prompts)]
    assert sum(share == 1 for share in kept) >= 0.8 * len(kept)


@pytest.mark.anyio
async def test_old_part_of_a_transcript_costs_nothing(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = live.engine.renderer.encode
    encoded = []

    def count(text: str) -> list[int]:
        encoded.append(len(text))
        return encode(text)

    monkeypatch.setattr(live.engine.renderer, "encode", count)
    said = [user("moon " * 60), {"role": "assistant", "content": "moon " * 60}] * 1500
    await ask(live, *said, user("Hello."), headers={})
    assert sum(encoded) < 60_000
