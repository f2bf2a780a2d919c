"""Cards, sessions and queries that nobody should send: each gets a clear error."""

import json
from typing import Any

import httpx
import pytest

from tests.refusals import assert_error

pytestmark = pytest.mark.usefixtures("engine_lives_on")


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
