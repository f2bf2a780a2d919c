"""Characters written by the real engine, over HTTP: from one line, from quotes, half a card, or a text."""

import json
from typing import Any

import httpx
import pytest

from app.api.synthesis.request import SynthesisRequest
from characters.card import slug
from characters.profile import LABELS, SYNTHESIS_LENGTHS, Profile

PERSONAS = [
    "A cynical detective with a penchant for jazz music",
    "an old fisherman who has never learned to swim",
    "Стареющая балерина из Перми, которая разводит шмелей",
    "引退した将棋棋士 🎋 who talks to crows",
    "x",
]


def create(client: httpx.Client, card: Any) -> dict[str, Any]:
    """Register `card`; returns what the server answered."""
    answer = client.post("/characters", json=card)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def list_all(client: httpx.Client, **query: Any) -> list[list[str]]:
    """The ids of all pages."""
    pages, cursor = [], ""
    while cursor is not None:
        page = client.get("/characters", params={**query, "cursor": cursor}).json()
        pages.append([character["id"] for character in page["characters"]])
        cursor = page["next_cursor"]
    return pages


def assert_complete(profile: dict[str, str]) -> None:
    """Every field says something, on one line, within its bound."""
    assert list(profile) == list(LABELS)
    for field, value in profile.items():
        assert value.strip(), field
        assert len(value) <= SYNTHESIS_LENGTHS[field]
    Profile.model_validate(profile)


@pytest.mark.parametrize("persona", PERSONAS)
def test_synthesis_writes_a_complete_profile(client: httpx.Client, persona: str) -> None:
    answer = client.post("/characters/synthesize", json={"persona": persona})
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/characters/{made['id']}"
    assert made["persona"] == persona
    assert_complete(made["profile"])
    assert made["data"]["name"] == made["profile"]["name"]
    assert made["data"]["first_mes"]
    assert client.get(f"/characters/{made['id']}").json() == made


def test_null_is_absent_from_a_synthesis() -> None:
    nothing = dict.fromkeys(("seed", "temperature", "dry_run", "stream"))
    body = SynthesisRequest.model_validate({"persona": "A baker", **nothing})
    assert not body.stream
    assert not body.dry_run


def test_dry_run_saves_nothing(client: httpx.Client) -> None:
    before = list_all(client, limit=200)
    answer = client.post("/characters/synthesize", json={"persona": PERSONAS[0], "dry_run": True})
    made = answer.json()
    assert answer.status_code == 200
    assert "location" not in answer.headers
    assert (made["id"], made["version"]) == (None, 0)
    assert_complete(made["profile"])
    assert list_all(client, limit=200) == before


def test_seed_writes_the_same_profile(client: httpx.Client) -> None:
    def write(seed: int) -> Any:
        body = {"persona": PERSONAS[0], "seed": seed, "dry_run": True, "temperature": 1.5}
        return client.post("/characters/synthesize", json=body).json()["profile"]

    write(4)  # from here on the prompt is read from the cache
    assert write(4) == write(4) != write(5)


@pytest.mark.parametrize("dry_run", [False, True])
def test_streamed_synthesis_tells_field_by_field(client: httpx.Client, dry_run: bool) -> None:
    body = {"persona": PERSONAS[1], "stream": True, "dry_run": dry_run}
    with client.stream("POST", "/characters/synthesize", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        *lines, done = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    *fields, made = map(json.loads, lines)
    assert done == "[DONE]"
    assert [frame["field"] for frame in fields] == list(LABELS)
    assert_complete(made["profile"])
    assert [" ".join(frame["value"].split()) for frame in fields] == list(made["profile"].values())
    assert (made["id"] is None) == dry_run
    if not dry_run:
        assert client.get(f"/characters/{made['id']}").json() == made


def test_synthesized_character_can_be_registered_again(client: httpx.Client) -> None:
    made = client.post("/characters/synthesize", json={"persona": PERSONAS[0], "dry_run": True}).json()
    again = create(client, {**made, "id": slug("a second life")})
    assert (again["profile"], again["persona"]) == (made["profile"], made["persona"])


def test_quotes_give_a_complete_profile(client: httpx.Client) -> None:
    quotes = ["Mind the hive, or you'll feel it.", "Forty years, and not one of them ever lied to me."]
    made = client.post("/characters/synthesize", json={"quotes": quotes, "name": "Brann"}).json()
    profile = made["profile"]
    assert profile.pop("quotes") == quotes
    assert_complete(profile)
    assert made["data"]["name"] == profile["name"] == "Brann"
    assert client.get(f"/characters/{made['id']}").json()["profile"]["quotes"] == quotes


def test_card_is_completed_around_what_it_says(client: httpx.Client) -> None:
    said = {"age": "70", "likes": 'honey, and "quiet" \\ 鸟', "secret": "none/at all"}
    card = {"data": {"name": "Brann", "description": "{{char}} keeps bees."}, "profile": said}
    made = client.post("/characters/synthesize", json={"card": card, "complete": True, "dry_run": True}).json()
    assert {field: made["profile"][field] for field in said} == said
    assert made["filled"] == [*(field for field in LABELS if field not in ("name", *said)), "first_mes"]
    assert_complete(made["profile"])


def test_text_is_read_in_pieces(client: httpx.Client) -> None:
    text = " ".join(f"On day {day} Mira Vel went down to the harbour, and nobody saw her." for day in range(100))
    body = {"text": text, "name": "Mira Vel", "seed": 1, "stream": True}
    with client.stream("POST", "/characters/synthesize", json=body) as response:
        *lines, done = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    *frames, made = map(json.loads, lines)
    pieces = [frame for frame in frames if "piece" in frame]
    assert done == "[DONE]"
    assert [frame["piece"] for frame in pieces] == list(range(len(pieces)))
    assert made["reading"] == {"read": len(pieces) - 1, "pieces": len(pieces) - 1, "error": None}
    assert len(pieces) > 2
    assert_complete(made["profile"])
    assert made["profile"]["name"] == "Mira Vel"


def test_variations_differ_and_come_again_with_their_seed(client: httpx.Client) -> None:
    def write() -> list[Any]:
        body = {"persona": PERSONAS[0], "n": 3, "seed": 4, "temperature": 1.5, "dry_run": True}
        made = client.post("/characters/synthesize", json=body).json()["characters"]
        return [one["profile"] for one in made]

    write()  # from here on the prompt is read from the cache
    first = write()
    assert write() == first
    assert len({json.dumps(profile) for profile in first}) == 3
    for profile in first:
        assert_complete(profile)
