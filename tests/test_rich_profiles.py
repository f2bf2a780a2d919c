"""What a profile tells beyond its fourteen lines: rendered when it is there, brought along, made sound, bounded."""

from typing import Any, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from characters.card import CardData, CharacterCard, parse_card
from characters.formats.cardfile import CardFile
from characters.formats.reading import read_card
from characters.formats.writing import Format, write_card
from characters.profile import LABELS, MAX_NOTES, Profile, one_line, profile_json_schema
from characters.temperament import DELIVERIES, POLES
from tests.cards import dumps, v2
from tests.live import Live
from tests.strategies import any_text, forging_text

RICH: dict[str, Any] = {
    "name": "Odo",
    "goal": "sleep",
    "big_five": {"openness": 95, "extraversion": 30, "neuroticism": 50},
    "habits": ["Counts the stairs", "Hums when he lies"],
    "relationships": {"Mira": "his sister; they don't speak", "The mayor": "owes him nine loaves"},
    "quotes": ["Bread waits for no king."],
    "expressiveness": 0.1,
}
RICHER = [field for field in Profile.model_fields if field not in LABELS]

notes = any_text | forging_text.map(lambda text: text[:500])
lists = st.lists(notes, max_size=4)
profiles = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(LABELS, notes),
        "big_five": st.dictionaries(st.sampled_from([*POLES]), st.integers(0, 100)),
        "habits": lists,
        "relationships": st.dictionaries(any_text, notes, max_size=4),
        "quotes": lists,
        "expressiveness": st.floats(0, 1),
    },
)


def card_of(profile: Any) -> CharacterCard:
    return CharacterCard(data=CardData(name="Odo"), profile=Profile.model_validate(profile))


def things(profile: Profile) -> int:
    """How many lines a profile has something for."""
    said = [getattr(profile, label) for label in LABELS]
    numbers = [profile.big_five.words(), profile.expressiveness is not None]
    return len([*filter(None, said + numbers)]) + sum(map(len, (profile.habits, profile.relationships, profile.quotes)))


def test_rich_profile_follows_the_fourteen() -> None:
    assert Profile.model_validate(RICH).lines().splitlines() == [
        "Name: Odo",
        "Goal: sleep",
        "Temperament: extremely curious and imaginative; rather quiet and reserved; "
        "as anxious and easily upset as most people",
        "Habit: Counts the stairs",
        "Habit: Hums when he lies",
        "Relationship: Mira: his sister; they don't speak",
        "Relationship: The mayor: owes him nine loaves",
        "Says Things Like: “Bread waits for no king.”",
        f"Delivery: {DELIVERIES[0]}",
    ]


def test_macros_are_expanded_in_a_rich_profile() -> None:
    card = card_of({"quotes": ["{{user}}, wake up. — {{char}}"]})
    assert card.profile is not None
    assert card.expand(card.profile.lines(), "Sam") == "Says Things Like: “Sam, wake up. — Odo”"


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(LABELS, any_text)))
def test_fourteen_lines_are_rendered_as_ever(fields: dict[str, str]) -> None:
    expected = [
        f"{label}: {one_line(fields[field])}" for field, label in LABELS.items() if one_line(fields.get(field, ""))
    ]
    profile = Profile.model_validate(fields)
    assert profile.lines() == "\n".join(expected)
    assert [*profile.model_dump()] == [*LABELS]


@given(profiles)
def test_each_thing_has_a_line_of_its_own(fields: dict[str, Any]) -> None:
    profile = Profile.model_validate(fields)
    assert len(profile.lines().splitlines()) == things(profile)


@given(profiles)
def test_rich_profile_comes_back_from_its_card(fields: dict[str, Any]) -> None:
    card = card_of(fields)
    for written in (card.to_v2(), card.to_v3()):
        assert parse_card(orjson.loads(orjson.dumps(written))) == card
    assert Profile.model_validate(card.profile.model_dump() if card.profile else {}) == card.profile


@pytest.mark.parametrize("kind", get_args(Format))
def test_rich_profile_travels_in_every_format(kind: Format) -> None:
    made = CardFile(card_of(RICH))
    back = read_card(write_card(made, kind))
    assert back.card.profile == made.card.profile
    assert "opencharacter" not in " ".join(back.warnings)


@pytest.mark.parametrize("field", RICHER)
def test_what_is_absent_is_not_rendered(field: str) -> None:
    lines = Profile.model_validate(RICH).lines()
    less = Profile.model_validate(RICH | {field: None})
    assert field not in less.model_dump()
    assert len(less.lines()) < len(lines)
    assert less == Profile.model_validate({key: value for key, value in RICH.items() if key != field})


@pytest.mark.parametrize("trait", POLES)
def test_trait_is_told_by_degree(trait: str) -> None:
    low, high = POLES[trait]
    told = [Profile.model_validate({"big_five": {trait: score}}).lines() for score in (0, 10, 25, 40, 60, 75, 90, 100)]
    middle = f"as {high} as most people"
    degrees = [f"extremely {low}", f"very {low}", f"rather {low}", middle, middle, f"rather {high}", f"very {high}"]
    assert told == [f"Temperament: {words}" for words in (*degrees, f"extremely {high}")]


def test_expressiveness_asks_for_more_and_more() -> None:
    told = [Profile(expressiveness=step / 100).lines().removeprefix("Delivery: ") for step in range(101)]
    assert [*dict.fromkeys(told)] == [*DELIVERIES]
    assert "no catch-phrases" in told[0]
    assert "catch-phrases are welcome" in told[-1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("big_five", {"openness": 101}),
        ("big_five", {"openness": -1}),
        ("big_five", {"openness": True}),
        ("big_five", {"openness": 62.5}),
        ("big_five", {"humour": 50}),
        ("big_five", 50),
        ("habits", "hums"),
        ("habits", ["x"] * (MAX_NOTES + 1)),
        ("habits", ["x" * 501]),
        ("habits", [{"x": "y"}]),
        ("relationships", ["Mira"]),
        ("relationships", {"x" * 101: "y"}),
        ("relationships", {"Mira": "x" * 501}),
        ("relationships", {str(number): "y" for number in range(MAX_NOTES + 1)}),
        ("quotes", ["x" * 501]),
        ("expressiveness", 1.01),
        ("expressiveness", -0.01),
        ("expressiveness", float("nan")),
        ("expressiveness", True),
        ("expressiveness", "loud"),
    ],
)
def test_profile_beyond_its_bounds_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=field):
        Profile.model_validate({field: value})


def test_constrained_profiles_keep_to_the_fourteen() -> None:
    assert [*profile_json_schema()["properties"]] == [*LABELS]


# From files


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"likes": ["rye", "rain"]}, {"likes": "rye, rain"}),
        (
            {"big_five": {"O": 80, "Extraversion": "20", "neuroticism": 49.6}},
            {"big_five": {"openness": 80, "extraversion": 20, "neuroticism": 50}},
        ),
        ({"habits": "hums"}, {"habits": ["hums"]}),
        ({"habits": ["hums", 7, None]}, {"habits": ["hums", "7"]}),
        (
            {"relationships": [{"name": "Mira", "relation": "sister", "note": "far away"}]},
            {"relationships": {"Mira": "sister; far away"}},
        ),
        (
            {"relationships": {"Mira": {"relation": "sister"}, "Ben": "uncle"}},
            {"relationships": {"Mira": "sister", "Ben": "uncle"}},
        ),
        ({"expressiveness": "0.3", "likes": 7, "goal": ["x"]}, {"expressiveness": 0.3, "likes": "7", "goal": "x"}),
        ({"age": None, "quotes": None, "hat": None}, {}),
    ],
)
def test_profile_of_a_file_is_coerced_and_told(given: Any, read: Any) -> None:
    card = read_card(dumps(v2(extensions={"opencharacter": {"profile": {"name": "Ida"} | given}})))
    assert card.card.profile == Profile.model_validate({"name": "Ida"} | read)
    assert any("profile" in warning for warning in card.warnings) or not read
    again = read_card(write_card(card, "json-v3"))
    assert again.card == card.card


@pytest.mark.parametrize(
    ("given", "unread"),
    [
        ({"hat": "tall"}, {"profile.hat": "tall"}),
        ({"goal": "x" * 2001}, {"profile.goal": "x" * 2001}),
        ({"big_five": {"openness": 300, "humour": 7}}, {"profile.big_five": {"openness": 300, "humour": 7}}),
        ({"big_five": [1, 2]}, {"profile.big_five": [1, 2]}),
        ({"quotes": [["x"]]}, {"profile.quotes": [["x"]]}),
        ({"quotes": ["x"] * MAX_NOTES + ["y"]}, {"profile.quotes": ["y"]}),
        ({"relationships": {"Mira": 7, "Ben": []}}, {"profile.relationships": {"Ben": []}}),
        ({"relationships": [{"name": "Mira"}] * 2}, {"profile.relationships": [{"name": "Mira"}] * 2}),
        ({"relationships": "Mira"}, {"profile.relationships": "Mira"}),
        ({"expressiveness": 70}, {"profile.expressiveness": 70}),
        ({"expressiveness": {"x": 1}}, {"profile.expressiveness": {"x": 1}}),
    ],
)
def test_what_cannot_be_read_of_a_profile_is_kept(given: Any, unread: Any) -> None:
    card = read_card(dumps(v2(extensions={"opencharacter": {"profile": {"name": "Ida"} | given}})))
    assert card.card.profile is not None
    assert card.card.profile.name == "Ida"
    assert card.card.data.extensions["opencharacter"]["unread"] == unread
    assert all(any(f"`{field}` can't be read" in warning for warning in card.warnings) for field in unread)


# Over HTTP


@pytest.mark.anyio
async def test_rich_profile_is_told_and_patched_field_by_field(live: Live) -> None:
    made = await live.client.post("/characters", json={"id": "odo", "name": "Odo", "profile": RICH})
    shown = made.raise_for_status().json()
    assert {field: shown["profile"][field] for field in RICH} == RICH
    assert shown["data"]["extensions"]["opencharacter"]["profile"] == RICH
    changes = {"big_five": {"openness": None, "agreeableness": 3}, "relationships": {"Mira": None}, "habits": ["Yawns"]}
    answer = await live.client.patch("/characters/odo", json={"profile": changes})
    changed = answer.raise_for_status().json()["profile"]
    assert changed["big_five"] == {"extraversion": 30, "neuroticism": 50, "agreeableness": 3}
    assert (changed["relationships"], changed["habits"]) == ({"The mayor": "owes him nine loaves"}, ["Yawns"])
    assert changed["quotes"] == RICH["quotes"]
    back = await live.client.put("/characters/odo", json=answer.json())
    assert back.raise_for_status().json()["profile"] == changed


@pytest.mark.anyio
async def test_rich_profile_beyond_its_bounds_is_a_400(live: Live) -> None:
    body = {"name": "Odo", "profile": {"big_five": {"openness": 101}}}
    answer = await live.client.post("/characters", json=body)
    assert answer.status_code == 400
    assert "openness" in answer.json()["error"]["message"]
