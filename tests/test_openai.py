"""OpenAI's own client against the server: strict about what it gets back, streaming and not, sync and async."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import httpx
import jsonschema
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from models.renderer import Renderer, Turn
from tests.conftest import Server

HELLO: Any = [{"role": "user", "content": "Hello, who are you?"}]
TOO_LONG: Any = [{"role": "user", "content": "moon " * 9000}]
# Varied enough that equal replies aren't chance, whatever the model has learned.
VARIED: Any = {"temperature": 2.0, "max_tokens": 24, "extra_body": {"ignore_eos": True}}


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[OpenAI]:
    with OpenAI(
        base_url=f"{server.url}/v1", api_key="none", timeout=120, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture
async def async_api(server: Server) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="none", timeout=120, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def ask(api: OpenAI, **fields: Any) -> ChatCompletion:
    """A completion: lyra's, of a few tokens, unless told otherwise."""
    completion: ChatCompletion = api.chat.completions.create(
        **{"model": "lyra", "messages": HELLO, "max_tokens": 8, **fields}
    )
    return completion


def stream(api: OpenAI, **fields: Any) -> list[ChatCompletionChunk]:
    """The chunks of the same."""
    chunks = api.chat.completions.create(
        **{"model": "lyra", "messages": HELLO, "max_tokens": 8, "stream": True, **fields}
    )
    return list(chunks)


def text(completion: ChatCompletion, index: int = 0) -> str:
    return completion.choices[index].message.content or ""


def spoken(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    """What choice `index` said."""
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


def prompt_tokens(completion: ChatCompletion) -> int:
    assert completion.usage is not None
    return completion.usage.prompt_tokens


def completion_tokens(completion: ChatCompletion) -> int:
    assert completion.usage is not None
    return completion.usage.completion_tokens


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


# Sampling


def test_n_gives_so_many_choices(api: OpenAI) -> None:
    completion = ask(api, n=2, **VARIED)
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert text(completion, 0) != text(completion, 1)
    assert completion_tokens(completion) == 48


def test_streamed_n_finishes_every_choice(api: OpenAI) -> None:
    chunks = stream(api, n=2, **VARIED)
    finished = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(finished) == [0, 1]
    assert spoken(chunks, 0) != spoken(chunks, 1)


def test_seed_repeats_the_reply(api: OpenAI) -> None:
    ask(api, seed=1, **VARIED)
    first, again, other = (text(ask(api, seed=seed, **VARIED)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_longest_reply_is_kept_to(api: OpenAI, field: str) -> None:
    completion = ask(api, **{"max_tokens": None, field: 5}, extra_body={"ignore_eos": True})
    assert completion.choices[0].finish_reason == "length"
    assert completion_tokens(completion) == 5


def test_min_tokens_and_ignore_eos_give_an_exact_count(api: OpenAI) -> None:
    completion = ask(api, max_tokens=17, extra_body={"min_tokens": 17, "ignore_eos": True})
    assert completion_tokens(completion) == 17


@pytest.mark.parametrize("many", [False, True])
def test_stop_string_ends_the_reply_before_it(api: OpenAI, many: bool) -> None:
    ask(api, seed=3, **VARIED)
    whole = text(ask(api, seed=3, **VARIED))
    stop = whole[len(whole) // 2 : len(whole) // 2 + 4]
    stopped = ask(api, seed=3, stop=[stop, "never said"] if many else stop, **VARIED)
    assert text(stopped) == whole.partition(stop)[0]
    assert stopped.choices[0].finish_reason == "stop"


def test_logprobs_are_told_for_every_token(api: OpenAI) -> None:
    completion = ask(api, logprobs=True, top_logprobs=3)
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content) == completion_tokens(completion)
    for token in logprobs.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert sorted(token.top_logprobs, key=lambda entry: -entry.logprob) == token.top_logprobs


def test_logprobs_without_alternatives(api: OpenAI) -> None:
    logprobs = ask(api, logprobs=True, extra_body={"ignore_eos": True}).choices[0].logprobs
    assert logprobs is not None
    assert [token.top_logprobs for token in logprobs.content or []] == [[]] * 8


def test_streamed_logprobs_are_as_many_as_tokens(api: OpenAI) -> None:
    chunks = stream(api, logprobs=True, top_logprobs=1, extra_body={"ignore_eos": True})
    told = [choice.logprobs for chunk in chunks for choice in chunk.choices if choice.logprobs]
    assert sum(len(logprobs.content or ()) for logprobs in told) == 8


def test_logit_bias_is_honoured(api: OpenAI, renderer: Renderer) -> None:
    wanted = renderer.encode("moon")[0]
    completion = ask(api, max_tokens=4, logit_bias={str(wanted): 100}, temperature=0)
    assert text(completion) == renderer.decode([wanted]) * 4


@pytest.mark.parametrize("bias", [{}, {"999999": 5}, {"50256": -100, "1": 1}])
def test_logit_bias_of_another_vocabulary_is_left_out(api: OpenAI, bias: dict[str, int]) -> None:
    assert text(ask(api, logit_bias=bias))


@pytest.mark.parametrize(
    "fields",
    [
        {"frequency_penalty": 0.5, "presence_penalty": -0.5, "top_p": 0.9},
        {"extra_body": {"top_k": 5, "min_p": 0.05, "repetition_penalty": 1.1}},
        {"extra_body": {"top_k": -1, "seed": -1, "min_p": None, "temperature": "0.5"}},
        {"temperature": 0, "top_p": 0, "user": "somebody", "metadata": {"a": "b"}, "store": False},
    ],
    ids=["penalties", "vllm's", "front-ends'", "the rest"],
)
def test_sampling_fields_are_accepted(api: OpenAI, fields: dict[str, Any]) -> None:
    assert text(ask(api, **fields))


def test_unknown_fields_are_accepted(api: OpenAI) -> None:
    assert text(ask(api, extra_body={"mirostat": 2, "nested": {"deep": [1, None]}, "tools": []}))


# Structured outputs


MOOD = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["glad", "sad"]},
        "why": {"type": "string", "minLength": 1, "maxLength": 12},
        "level": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["mood", "why", "level"],
    "additionalProperties": False,
}


class Mood(BaseModel):
    """As MOOD, for the client's own parser."""

    mood: Literal["glad", "sad"]
    certain: bool


def test_json_schema_is_followed(api: OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "mood", "schema": MOOD, "strict": True}}
    completion = ask(api, response_format=form, max_tokens=100)
    assert completion.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(text(completion)), MOOD)


def test_json_schema_string_holds_no_control_character(api: OpenAI, renderer: Renderer) -> None:
    wanted = {str(renderer.encode(sign)[0]): 100 for sign in ("\t", "\x11")}
    form = {"type": "json_schema", "json_schema": {"name": "mood", "schema": MOOD}}
    json.loads(text(ask(api, response_format=form, logit_bias=wanted, max_tokens=100)))


def test_parse_helper_gives_the_object(api: OpenAI) -> None:
    completion = api.chat.completions.parse(model="tiny", messages=HELLO, response_format=Mood, max_tokens=60)
    assert isinstance(completion.choices[0].message.parsed, Mood)


def test_json_object_is_json(api: OpenAI, renderer: Renderer) -> None:
    # Any object would do, also an endless one: the bias makes it a short one.
    bias = {str(renderer.encode(sign)[0]): weight for sign, weight in (('"', 100), ("}", 90), (":", 90))}
    completion = ask(api, response_format={"type": "json_object"}, logit_bias=bias, max_tokens=100)
    assert completion.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(text(completion)), dict)


def test_structured_outputs_regex_is_matched(api: OpenAI) -> None:
    pattern = r"[a-c]{3}-[0-9]{2}"
    completion = ask(api, extra_body={"structured_outputs": {"regex": pattern}}, max_tokens=40)
    assert re.fullmatch(pattern, text(completion))


def test_structured_outputs_choice_is_one_of_them(api: OpenAI) -> None:
    completion = ask(api, extra_body={"structured_outputs": {"choice": ["aye", "nay"]}}, max_tokens=20)
    assert text(completion) in ("aye", "nay")


def test_structured_outputs_json_is_followed(api: OpenAI) -> None:
    completion = ask(api, extra_body={"structured_outputs": {"json": MOOD}}, max_tokens=100)
    jsonschema.validate(json.loads(text(completion)), MOOD)


def test_streamed_json_schema_is_followed(api: OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "mood", "schema": MOOD}}
    jsonschema.validate(json.loads(spoken(stream(api, response_format=form, max_tokens=100))), MOOD)


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


# Sessions


def in_session(session_id: str, **fields: Any) -> dict[str, Any]:
    return {"extra_headers": {"X-Session-Id": session_id}, **fields}


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


# Errors


@pytest.mark.parametrize(
    ("fields", "error", "param", "code"),
    [
        ({"n": 1_000_000}, openai.BadRequestError, "n", None),
        ({"messages": []}, openai.BadRequestError, "messages", None),
        ({"temperature": -1}, openai.BadRequestError, "temperature", None),
        ({"model": "nobody"}, openai.NotFoundError, "model", "model_not_found"),
        ({"messages": TOO_LONG}, openai.BadRequestError, "messages", "context_length_exceeded"),
        (in_session("one", n=2), openai.BadRequestError, "n", None),
        (in_session("no spaces"), openai.BadRequestError, "X-Session-Id", None),
    ],
    ids=["n", "messages", "temperature", "model", "context", "session's n", "session id"],
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
