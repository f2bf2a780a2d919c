"""Characters over HTTP: registered, listed, changed, deleted, and written from one line."""

from typing import Any

import httpx
import pytest

# As front-ends write them: a V3 file carries the V1 fields at its top level too.
FRONT_END_CARD: dict[str, Any] = {
    "name": "Brann",
    "description": "the old top-level copy",
    "first_mes": "the old greeting",
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "create_date": "2026-03-01T10:00:00.000Z",
    "avatar": "none",
    "talkativeness": "0.5",
    "fav": False,
    "data": {
        "name": "Brann",
        "description": "{{char}} keeps bees.",
        "personality": "slow",
        "scenario": "A garden.",
        "first_mes": "Mind the hive, {{user}}.",
        "mes_example": "<START>\n{{user}}: Hello\n{{char}}: Hm.",
        "creator_notes": "",
        "system_prompt": "",
        "post_history_instructions": "",
        "alternate_greetings": ["You again."],
        "tags": ["Bees", "slow"],
        "creator": "somebody",
        "character_version": "2",
        "group_only_greetings": [],
        "extensions": {
            "talkativeness": "0.5",
            "fav": False,
            "depth_prompt": {"prompt": "hum", "depth": 4, "role": "system"},
        },
        "character_book": {"name": "garden", "entries": [{"keys": ["hive"], "content": "Six hives.", "enabled": True}]},
        "assets": [{"type": "icon", "uri": "ccdefault:", "name": "main", "ext": "png"}],
        "nickname": "",
        "source": [],
        "creation_date": 1740000000,
        "modification_date": 1740000001,
        "an_unknown_field": {"kept": [1, None]},
    },
}
V2_CARD: dict[str, Any] = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Mira Vel",
        "description": "A thief.",
        "tags": ["thief"],
        "extensions": {"opencharacter": {"persona": "A thief with rules", "profile": {"name": "Mira", "age": "30"}}},
    },
}


def create(client: httpx.Client, card: Any) -> dict[str, Any]:
    """Register `card`; returns what the server answered."""
    answer = client.post("/characters", json=card)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def etag(client: httpx.Client, character_id: str) -> str:
    return client.get(f"/characters/{character_id}").headers["etag"]


def list_all(client: httpx.Client, **query: Any) -> list[list[str]]:
    """The ids of all pages."""
    pages, cursor = [], ""
    while cursor is not None:
        page = client.get("/characters", params={**query, "cursor": cursor}).json()
        pages.append([character["id"] for character in page["characters"]])
        cursor = page["next_cursor"]
    return pages


# Registering


def test_front_ends_v3_card_is_registered_whole(client: httpx.Client) -> None:
    made = create(client, FRONT_END_CARD)
    assert made["data"].items() >= FRONT_END_CARD["data"].items()
    assert (made["spec"], made["spec_version"]) == ("chara_card_v3", "3.0")
    assert client.get(f"/characters/{made['id']}").json() == made


def test_v2_card_brings_profile_and_persona_in_its_extensions(client: httpx.Client) -> None:
    made = create(client, V2_CARD)
    assert made["persona"] == "A thief with rules"
    assert (made["profile"]["name"], made["profile"]["age"], made["profile"]["goal"]) == ("Mira", "30", "")


def test_bare_data_is_registered(client: httpx.Client) -> None:
    made = create(
        client, {"name": "Nils Holm", "description": "A ferryman.", "persona": "A ferryman", "profile": {"age": 61}}
    )
    assert made["id"] == "nils-holm"
    assert made["data"]["description"] == "A ferryman."
    assert made["persona"] == "A ferryman"
    assert made["profile"]["age"] == "61"


def test_registered_character_says_where_it_is(client: httpx.Client) -> None:
    answer = client.post("/characters", json={"id": "placed", "name": "Placed"})
    assert answer.status_code == 201
    assert answer.headers["location"] == "/characters/placed"
    assert answer.headers["etag"] == etag(client, "placed")
    assert answer.json()["version"] == 1


def test_names_that_collide_get_numbers(client: httpx.Client) -> None:
    assert [create(client, {"name": name})["id"] for name in ("Ada Ö", "ada o", "ADA, O!")] == [
        "ada-o",
        "ada-o-2",
        "ada-o-3",
    ]


@pytest.mark.parametrize("name", ["ルナ", "🌙", "…", "Жанна"])
def test_name_without_latin_letters_gets_an_id(client: httpx.Client, name: str) -> None:
    made = create(client, {"name": name})
    assert made["id"].startswith("character")
    assert client.get(f"/characters/{made['id']}").json()["data"]["name"] == name


def test_registered_character_can_be_talked_to_at_once(client: httpx.Client) -> None:
    made = create(client, FRONT_END_CARD)
    opened = client.post("/sessions", json={"character_id": made["id"], "user": {"name": "Mira"}}).json()
    assert opened["messages"][0]["content"] == "Mind the hive, Mira."


def test_lorebook_warns_of_what_it_cannot_do(client: httpx.Client) -> None:
    assert create(client, FRONT_END_CARD)["warnings"] == []
    broken = {"entries": [{"keys": ["/(/"], "use_regex": True, "content": "Never."}, 7]}
    made = create(client, {"name": "Broken", "character_book": broken})
    assert all(warning.startswith("character_book: ") for warning in made["warnings"])
    assert len(made["warnings"]) == 2
    changed = client.patch(f"/characters/{made['id']}", json={"character_book": {"entries": 5}}).json()
    assert "is a list" in changed["warnings"][0]


# Listing


def test_list_pages_through_everything_once(client: httpx.Client) -> None:
    made = [
        create(client, {"id": f"page-{number:02}", "name": f"Page {number}", "tags": ["paged"]})["id"]
        for number in range(33)
    ]
    pages = list_all(client, limit=10, tag="paged")
    assert [len(page) for page in pages] == [10, 10, 10, 3]
    assert [character for page in pages for character in page] == made
    assert {"lyra", *made} <= {character for page in list_all(client, limit=7) for character in page}


def test_list_that_fills_its_page_has_no_next(client: httpx.Client) -> None:
    for number in range(2):
        create(client, {"id": f"full-{number}", "name": "Full", "tags": ["fills"]})
    assert [len(page) for page in list_all(client, limit=2, tag="fills")] == [2]


def test_list_is_searched_by_name(client: httpx.Client) -> None:
    create(client, {"id": "searched", "name": "Zebulon the Odd"})
    assert list_all(client, q="zeBUlon") == [["searched"]]
    assert list_all(client, q="ZEARCHED") == [[]]


def test_list_is_filtered_by_tag(client: httpx.Client) -> None:
    create(client, {"id": "tagged", "name": "Tagged", "tags": ["Rare Tag"]})
    assert list_all(client, tag="rare tag") == [["tagged"]]
    assert list_all(client, tag="rare") == [[]]


def test_list_shows_whole_characters(client: httpx.Client) -> None:
    [lyra] = client.get("/characters", params={"q": "lyra tamm"}).json()["characters"]
    assert lyra == client.get("/characters/lyra").json()


# Reading and changing


def test_unchanged_character_is_not_sent_again(client: httpx.Client) -> None:
    tag = etag(client, "lyra")
    answer = client.get("/characters/lyra", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    assert client.get("/characters/lyra", headers={"If-None-Match": '"77"'}).status_code == 200


def test_put_replaces_the_card(client: httpx.Client) -> None:
    create(client, {"id": "put", "name": "Put", "description": "before", "persona": "before"})
    before = etag(client, "put")
    answer = client.put("/characters/put", json={"name": "Put again"}, headers={"If-Match": before})
    assert answer.status_code == 200
    assert answer.headers["etag"] == etag(client, "put") != before
    changed = client.get("/characters/put").json()
    assert changed == answer.json()
    assert (changed["version"], changed["data"]["name"]) == (2, "Put again")
    assert (changed["data"]["description"], changed["persona"]) == ("", "")


def test_put_ignores_an_id_in_the_body(client: httpx.Client) -> None:
    create(client, {"id": "stays", "name": "Stays"})
    assert client.put("/characters/stays", json={"id": "lyra", "name": "Stays"}).json()["id"] == "stays"


def test_what_was_read_can_be_put_back(client: httpx.Client) -> None:
    before = create(client, FRONT_END_CARD)
    after = client.put(f"/characters/{before['id']}", json=before).json()
    assert after == before | {"version": 2}


def test_etag_admits_one_of_two_writers(client: httpx.Client) -> None:
    create(client, {"id": "raced", "name": "Raced"})
    tag = {"If-Match": etag(client, "raced")}
    answers = [client.put("/characters/raced", json={"name": name}, headers=tag) for name in ("First", "Second")]
    assert [answer.status_code for answer in answers] == [200, 412]
    assert client.get("/characters/raced").json()["data"]["name"] == "First"


@pytest.mark.parametrize("match", ["{}", '"7", {}', "*", "W/{}"])
def test_matching_etag_lets_a_change_through(client: httpx.Client, match: str) -> None:
    made = create(client, {"name": "Matching"})
    headers = {"If-Match": match.format(etag(client, made["id"]))}
    assert client.delete(f"/characters/{made['id']}", headers=headers).status_code == 204


def test_patch_merges_bare_fields_into_data(client: httpx.Client) -> None:
    create(client, {"id": "patched", "name": "Patched", "description": "stays", "scenario": "goes", "tags": ["a", "b"]})
    answer = client.patch("/characters/patched", json={"scenario": None, "tags": ["c"], "personality": "new"})
    data = answer.json()["data"]
    assert (data["name"], data["description"], data["personality"]) == ("Patched", "stays", "new")
    assert (data["scenario"], data["tags"]) == ("", ["c"])
    assert answer.json()["version"] == 2


def test_patch_merges_into_every_part(client: httpx.Client) -> None:
    create(
        client,
        {"id": "parts", "name": "Parts", "persona": "before", "profile": {"name": "Parts", "age": "7", "goal": "rest"}},
    )
    patch = {"profile": {"age": "8", "goal": None}, "persona": "after", "data": {"extensions": {"x": {"y": 1}}}}
    changed = client.patch("/characters/parts", json=patch).json()
    assert changed["persona"] == "after"
    assert (changed["profile"]["name"], changed["profile"]["age"], changed["profile"]["goal"]) == ("Parts", "8", "")
    assert changed["data"]["extensions"]["x"] == {"y": 1}
    again = client.patch("/characters/parts", json={"data": {"extensions": {"x": {"z": 2}}}}).json()
    assert again["data"]["extensions"]["x"] == {"y": 1, "z": 2}


def test_patch_of_bare_fields_brings_persona_and_profile(client: httpx.Client) -> None:
    create(client, {"id": "beside", "name": "Beside", "description": "stays"})
    patch = {"name": "Beside it", "persona": "A neighbour", "profile": {"age": "9"}}
    changed = client.patch("/characters/beside", json=patch).json()
    assert (changed["data"]["name"], changed["data"]["description"]) == ("Beside it", "stays")
    assert (changed["persona"], changed["profile"]["age"]) == ("A neighbour", "9")


def test_patch_takes_the_profile_away(client: httpx.Client) -> None:
    create(client, {"id": "faceless", "name": "Faceless", "profile": {"age": "7"}})
    assert client.patch("/characters/faceless", json={"profile": None}).json()["profile"] is None


def test_empty_patch_changes_the_version_alone(client: httpx.Client) -> None:
    before = create(client, FRONT_END_CARD)
    assert client.patch(f"/characters/{before['id']}", json={}).json() == before | {"version": 2}


def test_patch_that_breaks_the_card_is_refused(client: httpx.Client) -> None:
    create(client, {"id": "whole", "name": "Whole"})
    assert client.patch("/characters/whole", json={"name": None}).status_code == 400
    assert client.get("/characters/whole").json()["version"] == 1


def test_deleted_character_is_gone(client: httpx.Client) -> None:
    create(client, {"id": "deleted", "name": "Deleted"})
    session = client.post("/sessions", json={"character_id": "deleted"}).json()["id"]
    assert client.delete("/characters/deleted").status_code == 204
    assert client.get("/characters/deleted").status_code == 404
    assert client.delete("/characters/deleted").status_code == 404
    assert "deleted" not in [model["id"] for model in client.get("/v1/models").json()["data"]]
    # The session was opened with the card as it was then, and goes on.
    answer = client.post(f"/sessions/{session}/messages", json={"content": "Hello.", "max_tokens": 2})
    assert answer.status_code == 200


def test_changed_card_leaves_open_sessions_alone(client: httpx.Client) -> None:
    create(client, {"id": "renamed", "name": "Renamed", "description": "short"})
    session = client.post("/sessions", json={"character_id": "renamed"}).json()["id"]
    client.patch("/characters/renamed", json={"description": "long " * 200}).raise_for_status()
    asked = client.post(f"/sessions/{session}/messages", json={"content": "Hello.", "max_tokens": 2}).json()
    assert asked["usage"]["prompt_tokens"] < 200
