"""OpenAI's own client against the server: strict about what it gets back, streaming and not, sync and async."""

from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from models.renderer import Renderer, Turn
from tests.openai_client import HELLO, TOO_LONG, VARIED, ask, in_session, prompt_tokens, spoken, stream, text

# Models


def test_models_are_the_engines_and_every_character(api: OpenAI) -> None:
    ids = [model.id for model in api.models.list()]
    assert ids[0] == "tiny"
    assert {"lyra", "osbern", "shiro"} <= set(ids)


@pytest.mark.parametrize("model", ["tiny", "lyra"])
def test_model_is_retrieved(api: OpenAI, model: str) -> None:
    retrieved = api.models.retrieve(model)
    assert (retrieved.id, retrieved.object, retrieved.owned_by) == (model, "model", "opencharacter")


@pytest.mark.parametrize("model", ["nobody", "no/body", "%00", "lyra "])
def test_unknown_model_is_not_found(api: OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        api.models.retrieve(model)
    assert refused.value.code == "model_not_found"


# Completions


@pytest.mark.parametrize("model", ["tiny", "lyra"])
def test_completion_is_whole(api: OpenAI, model: str) -> None:
    completion = ask(api, model=model)
    assert completion.object == "chat.completion"
    assert completion.model == model
    assert text(completion)
    assert completion.choices[0].finish_reason in ("stop", "length")
    usage = completion.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens is not None


@pytest.mark.parametrize("model", ["tiny", "lyra"])
def test_stream_is_role_content_finish_in_order(api: OpenAI, model: str) -> None:
    chunks = stream(api, model=model)
    assert {(chunk.id, chunk.model, chunk.object) for chunk in chunks} == {
        (chunks[0].id, model, "chat.completion.chunk")
    }
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    assert spoken(chunks)


def test_stream_says_what_the_completion_says(api: OpenAI) -> None:
    ask(api, seed=5, **VARIED)  # from here on both read the prompt from the cache
    assert spoken(stream(api, seed=5, **VARIED)) == text(ask(api, seed=5, **VARIED))


def test_stream_tells_usage_when_asked(api: OpenAI) -> None:
    chunks = stream(api, stream_options={"include_usage": True}, extra_body={"ignore_eos": True})
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens == 8
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens is not None


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}])
def test_stream_keeps_usage_to_itself_otherwise(api: OpenAI, options: Any) -> None:
    assert all(chunk.usage is None for chunk in stream(api, stream_options=options))


def test_stream_helper_puts_the_completion_together(api: OpenAI) -> None:
    finishing = {"structured_outputs": {"choice": ["Aye, aye."]}}
    with api.chat.completions.stream(model="lyra", messages=HELLO, max_tokens=40, extra_body=finishing) as events:
        said = "".join(event.delta for event in events if event.type == "content.delta")
        final = events.get_final_completion()
    assert final.choices[0].message.content == said


@pytest.mark.anyio
async def test_async_completion(async_api: AsyncOpenAI) -> None:
    completion = await async_api.chat.completions.create(model="lyra", messages=HELLO, max_tokens=8)
    assert text(completion)


@pytest.mark.anyio
async def test_async_stream(async_api: AsyncOpenAI) -> None:
    chunks = await async_api.chat.completions.create(model="lyra", messages=HELLO, max_tokens=8, stream=True)
    assert spoken([chunk async for chunk in chunks])


@pytest.mark.anyio
async def test_async_models(async_api: AsyncOpenAI) -> None:
    assert "lyra" in [model.id async for model in async_api.models.list()]


def test_repeated_prompt_is_read_from_the_cache(api: OpenAI) -> None:
    ask(api)
    usage = ask(api).usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens_details.cached_tokens or 0) >= usage.prompt_tokens * 0.7


# Messages


def test_raw_model_gets_the_messages_alone(api: OpenAI, renderer: Renderer) -> None:
    said: Any = [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": " Hello. "},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Who are you?"},
    ]
    expected = renderer.render([Turn(line["role"], renderer.encode(line["content"].strip())) for line in said])
    assert prompt_tokens(ask(api, model="tiny", messages=said)) == len(expected)


def test_content_parts_are_joined(api: OpenAI) -> None:
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]}]
    joined: Any = [{"role": "user", "content": "One.\nTwo."}]
    assert prompt_tokens(ask(api, messages=parts)) == prompt_tokens(ask(api, messages=joined))


def test_developer_is_system(api: OpenAI) -> None:
    def instructed(role: str) -> int:
        messages: Any = [{"role": role, "content": "Speak of the sea."}, *HELLO]
        return prompt_tokens(ask(api, model="tiny", messages=messages))

    assert instructed("developer") == instructed("system")


def test_system_message_joins_the_characters_head(api: OpenAI) -> None:
    instructed: Any = [{"role": "system", "content": "Speak of the sea, and of nothing else."}, *HELLO]
    assert prompt_tokens(ask(api, messages=instructed)) > prompt_tokens(ask(api))


def test_empty_messages_between_others_are_left_out(api: OpenAI) -> None:
    padded: Any = [{"role": "system", "content": ""}, *HELLO, {"role": "assistant", "content": None}]
    assert prompt_tokens(ask(api, messages=padded)) == prompt_tokens(ask(api))


def test_last_message_of_the_assistant_is_continued(api: OpenAI, renderer: Renderer) -> None:
    begun = "Once upon a time, "
    continued = ask(api, model="tiny", messages=[*HELLO, {"role": "assistant", "content": begun}])
    asked = renderer.render([Turn("user", renderer.encode(HELLO[0]["content"]))])
    assert prompt_tokens(continued) == len(asked) + len(renderer.encode(begun))
    assert text(continued)
    assert not text(continued).startswith(begun)


def test_long_history_is_cut_for_a_character(api: OpenAI) -> None:
    history: Any = [{"role": role, "content": "moon " * 300} for _ in range(10) for role in ("user", "assistant")]
    assert prompt_tokens(ask(api, messages=[*history, *HELLO])) < 4096


def test_long_history_is_refused_for_the_raw_model(api: OpenAI) -> None:
    history: Any = [{"role": role, "content": "moon " * 300} for _ in range(10) for role in ("user", "assistant")]
    with pytest.raises(openai.BadRequestError, match=r"needs \d+ tokens, and \d+ fit") as refused:
        ask(api, model="tiny", messages=[*history, *HELLO])
    assert refused.value.code == "context_length_exceeded"


# Errors


@pytest.mark.parametrize(
    ("fields", "error", "param", "code"),
    [
        ({"n": 1_000_000}, openai.BadRequestError, "n", None),
        ({"messages": []}, openai.BadRequestError, "messages", None),
        ({"temperature": -1}, openai.BadRequestError, "temperature", None),
        ({"model": "nobody"}, openai.NotFoundError, "model", "model_not_found"),
        ({"messages": TOO_LONG}, openai.BadRequestError, "messages", "context_length_exceeded"),
        (in_session("no spaces"), openai.BadRequestError, "X-Session-Id", None),
    ],
    ids=["n", "messages", "temperature", "model", "context", "session id"],
)
def test_error_is_the_clients_own(
    api: OpenAI, fields: dict[str, Any], error: type[openai.APIStatusError], param: str, code: str | None
) -> None:
    with pytest.raises(error) as refused:
        ask(api, **fields)
    assert refused.value.param == param
    assert refused.value.code == code
    assert refused.value.type == ("not_found_error" if error is openai.NotFoundError else "invalid_request_error")
    assert refused.value.message


def test_streamed_request_is_refused_with_a_status(api: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        stream(api, model="nobody")


def test_one_connection_serves_many_requests(client: httpx.Client) -> None:
    body = {"model": "lyra", "messages": HELLO, "max_tokens": 4}
    responses = [
        client.post("/v1/chat/completions", json=fields)
        for fields in (body, body | {"stream": True}, body | {"n": 0}, body | {"model": "nobody"}, body)
    ]
    responses.append(client.post("/v1/chat/completions", content="{"))
    responses.append(client.get("/v1/models"))
    assert [response.status_code for response in responses] == [200, 200, 400, 404, 200, 400, 200]
    ports = {response.extensions["network_stream"].get_extra_info("client_addr")[1] for response in responses}
    assert len(ports) == 1
