"""What tests of OpenAI's surface say to it, through OpenAI's own client, and how they read what comes back."""

from typing import Any

from openai import OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

HELLO: Any = [{"role": "user", "content": "Hello, who are you?"}]
TOO_LONG: Any = [{"role": "user", "content": "moon " * 9000}]
# Varied enough that equal replies aren't chance, whatever the model has learned.
VARIED: Any = {"temperature": 2.0, "max_tokens": 24, "extra_body": {"ignore_eos": True}}


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


def in_session(session_id: str, **fields: Any) -> dict[str, Any]:
    return {"extra_headers": {"X-Session-Id": session_id}, **fields}
