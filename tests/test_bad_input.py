"""What nobody should send: each gets a clear error in OpenAI's shape, and the engine goes on."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 2}
BODIES = [
    ("POST", CHAT),
    ("POST", "/characters"),
    ("PUT", "/characters/lyra"),
    ("PATCH", "/characters/lyra"),
    ("POST", "/characters/synthesize"),
    ("POST", "/sessions"),
    ("POST", "/sessions/sess_nowhere/messages"),
    ("POST", "/sessions/sess_nowhere/regenerate"),
]
every_body = pytest.mark.parametrize(("method", "path"), BODIES, ids=[f"{method} {path}" for method, path in BODIES])
DEEP = 100_000


@pytest.fixture(autouse=True)
def engine_lives_on(client: httpx.Client) -> Iterator[None]:
    """After each test here, the same engine still answers."""
    yield
    answer = client.post(CHAT, json=ASK)
    assert answer.status_code == 200, answer.text


def assert_error(response: httpx.Response, status: int, *, code: str | None = None, param: str | None = None) -> str:
    """That `response` is an error as OpenAI's; returns its message."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["type"]
    if code is not None:
        assert body["error"]["code"] == code
    if param is not None:
        assert body["error"]["param"] == param
    message: str = body["error"]["message"]
    assert message
    return message


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post(CHAT, json=ASK | fields)


# Bodies


@every_body
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"name": }',
        b'{"name": "Odo"} {}',
        b'{"name": NaN}',
        b'{"name": Infinity}',
        b'{"name": -Infinity}',
        b'{"name": 1e999}',
        b'{"name": "\\ud800"}',
        b'{"name": "\xed\xa0\x80"}',
        b'{"name": "\xff"}',
        b'{"name": "\x00"}',
        b"\xef\xbb\xbf\xff",
        b"[" * DEEP,
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    ],
    ids=lambda body: repr(body[:20])[2:-1],
)
def test_body_that_is_not_json_is_refused(client: httpx.Client, method: str, path: str, body: bytes) -> None:
    assert_error(client.request(method, path, content=body), 400)


@every_body
@pytest.mark.parametrize("value", [[], [{}], "text", 1, 1.5, True, None], ids=json.dumps)
def test_body_that_is_no_object_is_refused(client: httpx.Client, method: str, path: str, value: Any) -> None:
    assert_error(client.request(method, path, content=json.dumps(value)), 400)


@every_body
def test_nul_is_refused(client: httpx.Client, method: str, path: str) -> None:
    for body in ({"name": "a\0b"}, {"deep": [{"in": "\0"}]}, {"\0": 1}):
        assert_error(client.request(method, path, json=body), 400, code="invalid_text")


@every_body
def test_deep_nesting_is_refused(client: httpx.Client, method: str, path: str) -> None:
    body = b'{"a":' + b"[" * 70 + b"]" * 70 + b"}"
    assert_error(client.request(method, path, content=body), 400, code="invalid_json")


@every_body
def test_big_body_is_refused(client: httpx.Client, method: str, path: str) -> None:
    body = json.dumps({"name": "a" * 10_000_000}).encode()
    message = assert_error(client.request(method, path, content=body), 413, code="body_too_large")
    assert "4194304 bytes" in message


@every_body
def test_big_body_without_a_length_is_refused(client: httpx.Client, method: str, path: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"name": "'
        for _ in range(160):
            yield b"a" * 65_536
        yield b'"}'

    response = client.request(method, path, content=pieces())
    assert response.request.headers["transfer-encoding"] == "chunked"
    assert_error(response, 413, code="body_too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=x", ""])
def test_json_is_read_under_any_content_type(client: httpx.Client, kind: str) -> None:
    answer = client.post(CHAT, content=json.dumps(ASK), headers={"content-type": kind})
    assert answer.status_code == 200


def test_unknown_route_is_an_error_object(client: httpx.Client) -> None:
    assert_error(client.get("/nowhere"), 404)
    assert_error(client.get("/v1/chat/completions"), 405)
    assert_error(client.request("PURGE", "/characters"), 405)


# What doesn't exist


@pytest.mark.parametrize("character_id", ["nobody", "no%20body", "%00", "%F0%9F%8C%99", "..%2Flyra", "a" * 5000])
def test_unknown_character_is_not_found(client: httpx.Client, character_id: str) -> None:
    responses = [
        client.get(f"/characters/{character_id}"),
        client.put(f"/characters/{character_id}", json={"name": "Odo"}),
        client.patch(f"/characters/{character_id}", json={"name": "Odo"}),
        client.delete(f"/characters/{character_id}"),
    ]
    for response in responses:
        assert_error(response, 404)


def test_session_with_an_unknown_character_is_not_found(client: httpx.Client) -> None:
    answer = client.post("/sessions", json={"character_id": "nobody"})
    assert "'nobody'" in assert_error(answer, 404, code="character_not_found")


@pytest.mark.parametrize("session_id", ["nowhere", "%7B%7D", "%00", "a" * 5000, "*"])
def test_unknown_session_is_not_found(client: httpx.Client, session_id: str) -> None:
    path = f"/sessions/{session_id}"
    responses = [
        client.get(path),
        client.get(f"{path}/messages"),
        client.post(f"{path}/messages", json={"content": "Hello."}),
        client.post(f"{path}/messages", json={"content": "Hello.", "stream": True}),
        client.post(f"{path}/regenerate", json={}),
        client.delete(path),
    ]
    for response in responses:
        assert_error(response, 404, code="session_not_found")


# What doesn't fit


def test_card_too_long_for_the_context_names_both_numbers(client: httpx.Client) -> None:
    long = {"id": "long-card", "name": "Long", "description": "moon " * 6000}
    client.post("/characters", json=long).raise_for_status()
    answers = [
        client.post("/sessions", json={"character_id": "long-card"}),
        ask(client, model="long-card"),
        client.post(CHAT, json=ASK | {"model": "long-card"}, headers={"X-Session-Id": "long"}),
    ]
    for answer in answers:
        message = assert_error(answer, 400, code="context_length_exceeded")
        needed, fitting = (int(word) for word in message.split() if word.isdecimal())
        assert needed > 6000 > 4096 > fitting > 2000
    assert_error(client.get("/sessions/long"), 404)


def test_message_too_long_for_the_context_names_both_numbers(client: httpx.Client) -> None:
    session = client.post("/sessions", json={"character_id": "lyra"}).json()["id"]
    path = f"/sessions/{session}/messages"
    message = assert_error(client.post(path, json={"content": "moon " * 9000}), 400, code="context_length_exceeded")
    assert len([word for word in message.split() if word.isdecimal()]) == 2
    assert len(client.get(path).json()["messages"]) == 1
    assert client.post(path, json={"content": "Hello.", "max_tokens": 2}).status_code == 200


def test_character_that_cannot_be_served_can_be_registered_anyway(client: httpx.Client) -> None:
    answer = client.post("/characters", json={"name": "Very Long", "description": "moon " * 6000})
    assert answer.status_code == 201


# Messages


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": " \n\t "}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": []}],
        [{"role": "user"}],
        [{"role": "system", "content": "You are brief."}],
        [{"role": "system", "content": "You are brief."}, {"role": "user", "content": ""}],
        [{}],
        [{"content": "Hello."}],
        [{"role": 1, "content": "Hello."}],
        [{"role": "user", "content": 1}],
        [{"role": "user", "content": {"text": "Hello."}}],
        [{"role": "user", "content": ["Hello."]}],
        [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "user", "content": [{"type": "text", "text": 1}]}],
        [None],
        ["Hello."],
        "Hello.",
        {"role": "user", "content": "Hello."},
        None,
        [{"role": "user", "content": "a"}] * 10_001,
    ],
    ids=lambda messages: json.dumps(messages)[:60],
)
def test_bad_messages_are_refused(client: httpx.Client, messages: Any) -> None:
    body = assert_error_body(ask(client, messages=messages))
    assert body["param"].startswith("messages")


def assert_error_body(response: httpx.Response) -> dict[str, Any]:
    assert_error(response, 400)
    error: dict[str, Any] = response.json()["error"]
    return error


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file", "", 7])
def test_content_part_that_is_no_text_is_refused(client: httpx.Client, kind: Any) -> None:
    part = {"type": kind, kind if isinstance(kind, str) else "x": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]
    assert "text alone" in assert_error(ask(client, messages=messages), 400, param="messages")


@pytest.mark.parametrize(
    "content", ["", "  \n", None, 1, [], {}, ["Hello."], "a" * 200_001], ids=lambda c: repr(c)[:12]
)
def test_bad_session_message_is_refused(client: httpx.Client, content: Any) -> None:
    session = client.post("/sessions", json={"character_id": "lyra"}).json()["id"]
    assert_error(client.post(f"/sessions/{session}/messages", json={"content": content}), 400, param="content")


# Sampling


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1_000_000},
        {"n": 0},
        {"n": -1},
        {"n": "many"},
        {"n": 1.5},
        {"max_tokens": 0},
        {"max_tokens": -1},
        {"max_tokens": "many"},
        {"max_tokens": 2**70},
        {"max_completion_tokens": 0},
        {"min_tokens": 3},
        {"min_tokens": -1},
        {"temperature": "nan"},
        {"temperature": "inf"},
        {"temperature": "-1"},
        {"temperature": -0.1},
        {"temperature": 1e308},
        {"temperature": [1]},
        {"top_p": "nan"},
        {"top_p": 2},
        {"top_p": -1},
        {"top_k": -2},
        {"top_k": 2**80},
        {"min_p": "nan"},
        {"min_p": 2},
        {"presence_penalty": "nan"},
        {"presence_penalty": 100},
        {"frequency_penalty": -100},
        {"repetition_penalty": 0},
        {"repetition_penalty": "inf"},
        {"seed": 2**63},
        {"seed": -(2**64)},
        {"seed": "a"},
        {"stop": [f"stop {number}" for number in range(5000)]},
        {"stop": ["a" * 10_000]},
        {"stop": "a" * 10_000},
        {"stop": [1]},
        {"stop": {"a": 1}},
        {"top_logprobs": 1000},
        {"top_logprobs": -1},
        {"logprobs": "all"},
        {"stream": "maybe"},
        {"stream_options": "all"},
        {"response_format": "json"},
        {"response_format": {"type": "xml"}},
        {"response_format": {}},
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)
def test_bad_sampling_field_is_refused_by_name(client: httpx.Client, fields: dict[str, Any]) -> None:
    error = assert_error_body(ask(client, **fields))
    assert next(iter(fields)) in f"{error['param']} {error['message']}"


@pytest.mark.parametrize("stream", [False, True])
def test_bad_sampling_in_a_session_leaves_it_as_it_was(client: httpx.Client, stream: bool) -> None:
    session = client.post("/sessions", json={"character_id": "lyra"}).json()["id"]
    path = f"/sessions/{session}/messages"
    for fields in ({"n": 2}, {"temperature": "nan"}, {"min_tokens": 10**9}, {"structured_outputs": {"regex": "["}}):
        assert_error(client.post(path, json={"content": "Hello.", "stream": stream, **fields}), 400)
    assert [message["role"] for message in client.get(path).json()["messages"]] == ["assistant"]
    assert client.post(path, json={"content": "Hello.", "max_tokens": 2}).json()["version"] == 2


@pytest.mark.parametrize(
    "bias",
    [
        {"a": 1},
        {"-1": 1},
        {"": 1},
        {"1.5": 1},
        {"9" * 5000: 1},
        {"٣": 1},
        {"99999999999999999999": 1},
        {"1": 1e300},
        {"1": -1e300},
        {"7": 0},
    ],
    ids=lambda bias: json.dumps(bias)[:30],
)
def test_odd_bias_is_harmless(client: httpx.Client, bias: dict[str, float]) -> None:
    assert ask(client, logit_bias=bias).status_code == 200


@pytest.mark.parametrize(
    "bias",
    [[], "none", {"1": "much"}, {"1": None}, {"1": {}}, {str(number): 1 for number in range(2000)}],
    ids=lambda bias: json.dumps(bias)[:30],
)
def test_bad_bias_is_refused(client: httpx.Client, bias: Any) -> None:
    assert "logit_bias" in assert_error_body(ask(client, logit_bias=bias))["param"]


# Grammars


@pytest.mark.parametrize(
    "regex",
    [
        "[",
        "(",
        ")",
        "\\",
        "a{2,1}",
        "*",
        "(?<=a)b",
        r"(a)\1",
        "(?P<x",
        "a" * 5000,
        "(" * 2000 + "a" + ")" * 2000,
        1,
        [],
    ],
    ids=lambda regex: repr(regex)[:20],
)
def test_bad_regex_is_refused(client: httpx.Client, regex: Any) -> None:
    assert_error(ask(client, structured_outputs={"regex": regex}), 400)


@pytest.mark.parametrize(
    "regex",
    ["(a|aa)+$", "^(([a-z])+.)+[A-Z]", "(a{1000}){1000}", "a{1000000}", "(.*)*(.*)*x", "(a?){50}a{50}"],
)
def test_greedy_regex_does_no_harm(client: httpx.Client, regex: str) -> None:
    answer = ask(client, structured_outputs={"regex": regex}, max_tokens=8)
    assert answer.status_code in (200, 400)
    assert answer.elapsed.total_seconds() < 20


def nested(depth: int) -> dict[str, Any]:
    """A schema of objects in objects; each takes two levels of the body."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def branching(depth: int) -> dict[str, Any]:
    """A schema of 2 ** depth ways to say null."""
    twice = {f"d{step}": {"anyOf": [{"$ref": f"#/$defs/d{step + 1}"}] * 2} for step in range(depth)}
    return {"$defs": {**twice, f"d{depth}": {"type": "null"}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"type": 1},
        {"properties": []},
        {"required": "a"},
        {"type": "string", "pattern": "["},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"enum": []},
        {"anyOf": []},
        {"type": "string", "maxLength": -1},
        {"enum": ["x" * 100] * 400},
        nested(100),
        "schema",
        [],
        None,
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)
def test_bad_schema_is_refused(client: httpx.Client, schema: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert_error(ask(client, response_format=form), 400)


@pytest.mark.parametrize(
    "schema",
    [
        nested(25),
        branching(30),
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"type": "string", "maxLength": 10**9},
        {"type": "string", "minLength": 10**6},
        {"type": "array", "items": {"type": "string"}, "minItems": 10**6},
        {"type": "string", "pattern": "(a{1000}){1000}"},
        {"type": "string", "pattern": "^(([a-z])+.)+[A-Z]$"},
        {"type": "integer", "minimum": -(10**18), "maximum": 10**18},
        {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(500)}},
        {"enum": [f"x{number}" for number in range(2000)]},
        {"not": {}},
        {"$ref": "http://example.com/schema"},
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)
def test_absurd_schema_does_no_harm(client: httpx.Client, schema: dict[str, Any]) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = ask(client, response_format=form, max_tokens=8)
    assert answer.status_code in (200, 400)
    assert answer.elapsed.total_seconds() < 20


@pytest.mark.parametrize(
    "outputs",
    [{}, {"choice": []}, {"choice": [1]}, {"choice": "a"}, {"regex": "a", "choice": ["a"]}, {"json": "a"}, [], "a"],
    ids=json.dumps,
)
def test_bad_structured_outputs_are_refused(client: httpx.Client, outputs: Any) -> None:
    assert "structured_outputs" in assert_error_body(ask(client, structured_outputs=outputs))["param"]


def test_grammar_error_is_one_plain_line(client: httpx.Client) -> None:
    message = assert_error(ask(client, structured_outputs={"regex": "["}), 400)
    assert ".cc:" not in message
    assert "Unclosed '['" in message
    assert len(message.splitlines()) == 1


# Characters and sessions


@pytest.mark.parametrize(
    "card",
    [
        {},
        {"data": {}},
        {"data": None},
        {"data": []},
        {"name": ""},
        {"name": "  "},
        {"name": 1},
        {"name": "a" * 201},
        {"name": "Odo", "tags": "baker"},
        {"name": "Odo", "description": None},
        {"name": "Odo", "alternate_greetings": [1]},
        {"name": "Odo", "extensions": []},
        {"name": "Odo", "character_book": "book"},
        {"name": "Odo", "profile": {"name": []}},
        {"name": "Odo", "profile": {"shoe_size": "12"}},
        {"name": "Odo", "profile": "a baker"},
        {"name": "Odo", "persona": 1},
        {"name": "Odo", "persona": "a" * 4001},
        {"spec": "chara_card_v9", "data": {"name": "Odo"}},
        {"spec": 2, "data": {"name": "Odo"}},
        {"spec": "chara_card_v2"},
    ],
    ids=lambda card: json.dumps(card)[:50],
)
def test_bad_card_is_refused(client: httpx.Client, card: Any) -> None:
    assert_error(client.post("/characters", json=card), 400)
    assert_error(client.put("/characters/lyra", json=card), 400)


@pytest.mark.parametrize("character_id", ["", " ", "Odo", "o--o", "-o", "a/b", "../x", "a" * 49, 7, [], {}, "ö", "a:b"])
def test_bad_character_id_is_refused(client: httpx.Client, character_id: Any) -> None:
    assert_error(client.post("/characters", json={"id": character_id, "name": "Odo"}), 400, code="invalid_id")


def test_taken_character_id_is_a_conflict(client: httpx.Client) -> None:
    answer = client.post("/characters", json={"id": "lyra", "name": "Another Lyra"})
    assert_error(answer, 409, code="id_taken", param="id")
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("tag", ['"99"', '"0"', "1", '"', "", '"a", "b"', 'W/"99"', "é"])
def test_stale_etag_is_a_failed_precondition(client: httpx.Client, tag: str) -> None:
    headers = {b"If-Match": tag.encode()}
    responses = [
        client.put("/characters/lyra", json={"name": "Not Lyra"}, headers=headers),
        client.patch("/characters/lyra", json={"name": "Not Lyra"}, headers=headers),
        client.delete("/characters/lyra", headers=headers),
    ]
    for response in responses:
        assert_error(response, 412, code="etag_mismatch")
    assert client.get("/characters/lyra").json()["data"]["name"] == "Lyra Tamm"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"persona": ""},
        {"persona": " \n "},
        {"persona": None},
        {"persona": 1},
        {"persona": ["A baker"]},
        {"persona": "a" * 1001},
        {"persona": "A baker", "seed": -1},
        {"persona": "A baker", "seed": 2**64},
        {"persona": "A baker", "temperature": "nan"},
        {"persona": "A baker", "dry_run": "perhaps"},
    ],
    ids=lambda body: json.dumps(body)[:50],
)
def test_bad_synthesis_is_refused(client: httpx.Client, body: Any) -> None:
    assert_error(client.post("/characters/synthesize", json=body), 400)


@pytest.mark.parametrize(
    "fields",
    [
        {"character_id": None},
        {"character_id": 1},
        {"greeting": 99},
        {"greeting": -1},
        {"greeting": 2**70},
        {"greeting": 0.5},
        {"greeting": []},
        {"greeting": "a" * 20_001},
        {"user": "Mira"},
        {"user": {"name": ""}},
        {"user": {"name": "a" * 101}},
        {"user": {"name": 1}},
        {"user": {"name": "Mira", "persona": "a" * 8001}},
    ],
    ids=lambda fields: json.dumps(fields)[:40],
)
def test_bad_session_is_refused(client: httpx.Client, fields: dict[str, Any]) -> None:
    assert_error(client.post("/sessions", json={"character_id": "lyra"} | fields), 400)


@pytest.mark.parametrize(
    "query",
    [
        "/characters?limit=0",
        "/characters?limit=1000000",
        "/characters?limit=many",
        f"/characters?cursor={'a' * 300}",
        "/sessions?cursor=-1",
        "/sessions?cursor=x",
        f"/sessions?cursor={10**30}",
        "/sessions?limit=0",
    ],
)
def test_bad_query_is_refused(client: httpx.Client, query: str) -> None:
    assert_error(client.get(query), 400)


def test_message_page_after_an_unknown_message_is_not_found(client: httpx.Client) -> None:
    session = client.post("/sessions", json={"character_id": "lyra"}).json()["id"]
    assert_error(client.get(f"/sessions/{session}/messages?after=msg_nowhere"), 404, param="after")
