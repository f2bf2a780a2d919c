"""What is asked for and what is made of the answer: a persona, quotes, or half a card in which nothing is changed."""

from typing import Any

import pytest

from characters.card import CharacterCard, parse_card
from characters.profile import LABELS
from models.renderer import Renderer
from models.synthesis.commission import NothingMissing, from_card, from_persona, from_quotes
from models.synthesis.form import ProfileTooLong
from models.synthesis.profile_prompt import build_profile_turns

CONTEXT = 4096
WRITTEN = dict.fromkeys(LABELS, "new")


def finish(card: dict[str, Any], *, named: bool = True) -> CharacterCard:
    """The card, with `new` wherever it says nothing."""
    commission = from_card(parse_card(card), named=named)
    return commission.finish({field: "new" for field in LABELS if field not in commission.known})


def test_persona_is_asked_for_as_in_training(renderer: Renderer) -> None:
    turns, form = from_persona("A baker\n of  bread").ask(renderer, CONTEXT)
    assert turns == build_profile_turns(renderer, "A baker of bread")
    assert list(form.lengths) == list(LABELS)


def test_quotes_are_told_and_kept(renderer: Renderer) -> None:
    commission = from_quotes(["Mind the hive. ", "Hm."], "Odo")
    [_, user], _ = commission.ask(renderer, CONTEXT)
    assert renderer.decode(user.token_ids) == "Odo, who says: “Mind the hive.” “Hm.”"
    card = commission.finish(WRITTEN | {"name": "Odo"})
    assert card.profile
    assert card.profile.quotes == ["Mind the hive.", "Hm."]
    assert (card.data.name, card.profile.age, card.persona) == ("Odo", "new", "")


def test_card_keeps_all_that_it_says() -> None:
    before = {
        "data": {
            "name": "Brann",
            "description": "{{char}} keeps bees.",
            "first_mes": "Mind the hive.",
            "an_unknown_field": [1],
            "extensions": {"talkativeness": 0.5},
        },
        "profile": {"age": "70", "goal": 'to say "no"', "habits": ["hums"], "quotes": ["Hm."]},
        "persona": "A beekeeper",
    }
    card = parse_card(before)
    after = finish(before)
    assert after.data == card.data
    assert after.persona == card.persona
    assert after.profile
    assert card.profile
    fields = after.profile.model_dump()
    assert {field: fields[field] for field in before["profile"]} == before["profile"]  # type: ignore[attr-defined]
    assert {field for field, value in fields.items() if value == "new"} == set(LABELS) - {"name", "age", "goal"}
    assert after.profile.name == "Brann"


def test_what_stands_elsewhere_on_the_card_is_not_missing() -> None:
    after = finish({"name": "Brann", "personality": "slow"})
    assert after.profile
    assert (after.profile.personality, after.data.personality) == ("", "slow")


def test_card_without_a_name_or_greeting_gets_them() -> None:
    after = finish({"name": "Somebody", "description": "A knight."}, named=False)
    assert (after.data.name, after.data.first_mes) == ("new", "Hello, {{user}}. I am new.")
    filled = from_card(parse_card({"name": "Brann"})).filled
    assert filled == (*(field for field in LABELS if field != "name"), "first_mes")


def test_alternate_greeting_is_a_greeting() -> None:
    assert finish({"name": "Brann", "alternate_greetings": ["You again."]}).data.first_mes == ""


def test_model_reads_what_the_card_says(renderer: Renderer) -> None:
    card = {
        "data": {"name": "Brann", "description": "{{char}} keeps bees.", "scenario": "A garden."},
        "profile": {"age": "70", "habits": ["hums"]},
        "persona": "A beekeeper",
    }
    [_, user], form = from_card(parse_card(card)).ask(renderer, CONTEXT)
    told = renderer.decode(user.token_ids)
    assert told == "A beekeeper Age: 70; Habit: hums Brann keeps bees. A garden."
    assert form.given == {"name": "Brann", "age": "70"}


@pytest.mark.parametrize("word", ["bees ", "пчела ", "🐝"])
def test_long_card_is_read_as_far_as_there_is_room(renderer: Renderer, word: str) -> None:
    turns, form = from_card(parse_card({"name": "Brann", "description": word * 100_000})).ask(renderer, CONTEXT)
    prompt = renderer.render(turns)
    assert 0.2 * CONTEXT < len(prompt) <= CONTEXT - form.longest_tokens


def test_quotes_too_long_for_the_context_are_refused(renderer: Renderer) -> None:
    with pytest.raises(ProfileTooLong, match=str(CONTEXT)):
        from_quotes(["🐝" * 500] * 32).ask(renderer, CONTEXT)


def test_complete_card_is_refused() -> None:
    with pytest.raises(NothingMissing):
        from_card(parse_card({"name": "Brann", "first_mes": "Hm.", "profile": WRITTEN}))
