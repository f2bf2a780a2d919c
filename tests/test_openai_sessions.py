"""Sessions over OpenAI's surface: `X-Session-Id` makes the server keep the history."""

from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.openai_client import ask, completion_tokens, in_session, prompt_tokens, stream, text


def say(content: str) -> Any:
    return [{"role": "user", "content": content}]


def stored(client: httpx.Client, session_id: str) -> list[tuple[str, str]]:
    messages = client.get(f"/sessions/{session_id}/messages").json()["messages"]
    return [(message["role"], message["content"]) for message in messages]


def test_session_id_makes_the_server_keep_the_history(api: OpenAI, client: httpx.Client) -> None:
    first = ask(api, **in_session("kept:1", messages=say("My boat is called Mathilda.")))
    second = ask(api, **in_session("kept:1", messages=say("What is it called?")))
    assert prompt_tokens(second) > prompt_tokens(first) + completion_tokens(first)
    assert stored(client, "kept:1") == [
        ("user", "My boat is called Mathilda."),
        ("assistant", text(first)),
        ("user", "What is it called?"),
        ("assistant", text(second)),
    ]


def test_session_takes_the_last_message_of_a_whole_transcript(api: OpenAI, client: httpx.Client) -> None:
    first = text(ask(api, **in_session("whole", messages=say("One."))))
    transcript = [*say("One."), {"role": "assistant", "content": first}, *say("Two.")]
    second = text(ask(api, **in_session("whole", messages=transcript)))
    assert [content for _, content in stored(client, "whole")] == ["One.", first, "Two.", second]


def test_first_request_of_a_session_brings_its_past(api: OpenAI, client: httpx.Client) -> None:
    past: Any = [*say("One."), {"role": "assistant", "content": "Two."}, *say("Three.")]
    reply = text(ask(api, **in_session("past", messages=past)))
    assert [content for _, content in stored(client, "past")] == ["One.", "Two.", "Three.", reply]


def test_streamed_session_ends_with_its_ids(api: OpenAI, client: httpx.Client) -> None:
    chunks = stream(api, **in_session("streamed", messages=say("Hello.")))
    last = chunks[-1].model_extra or {}
    assert (last["session_id"], last["version"]) == ("streamed", 2)
    assert client.get("/sessions/streamed/messages").json()["messages"][-1]["id"] == last["message_id"]


def test_session_with_another_character_is_refused(api: OpenAI, client: httpx.Client) -> None:
    ask(api, **in_session("mixed", messages=say("Hello.")))
    with pytest.raises(openai.BadRequestError, match="is with 'lyra', not 'osbern'") as refused:
        ask(api, **in_session("mixed", model="osbern", messages=say("Hello.")))
    assert refused.value.param == "model"
    assert len(stored(client, "mixed")) == 2


def test_session_can_be_continued_by_the_raw_models_name(api: OpenAI, client: httpx.Client) -> None:
    ask(api, **in_session("named", messages=say("Hello.")))
    ask(api, **in_session("named", model="tiny", messages=say("And?")))
    assert len(stored(client, "named")) == 4


def test_new_session_needs_a_character(api: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="name a character as `model`"):
        ask(api, **in_session("nobody:1", model="tiny"))


def test_begun_reply_in_a_session_is_kept_with_its_continuation(api: OpenAI, client: httpx.Client) -> None:
    begun: Any = [*say("Tell me a tale."), {"role": "assistant", "content": "Once upon a time, "}]
    reply = text(ask(api, **in_session("begun", messages=begun)))
    assert stored(client, "begun")[-1] == ("assistant", f"Once upon a time, {reply}")
