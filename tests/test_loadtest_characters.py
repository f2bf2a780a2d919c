"""The benchmarks of many characters, in small: what they send, and how they count."""

import pytest

from characters.formats.reading import read_card
from loadtest import characters, imports


@pytest.mark.anyio
async def test_lists_are_timed_over_a_real_store() -> None:
    arguments = characters.parse_arguments(["--characters", "120", "--requests", "2", "--card-kb", "1"])
    figures = await characters.measure(arguments)
    assert {row["count"] for row in figures.values()} == {2}
    assert figures["first page"]["bytes"] > 50 * 1024
    assert figures["page of 200"]["bytes"] > 2 * figures["first page"]["bytes"]
    assert 1024 < figures["search, one hit"]["bytes"] < 4096
    assert figures["search, no hit"]["bytes"] < 100


def test_cards_to_import_are_cards_with_pictures_of_their_own() -> None:
    cards = list(imports.draw_cards(3, 40, seed=0))
    assert len(set(cards)) == 3
    assert all(len(card) > 40 * 1024 for card in cards)
    assert [read_card(card).avatar_path is not None for card in cards] == [True] * 3
    assert cards == list(imports.draw_cards(3, 40, seed=0))


def test_gaps_are_of_one_turn_and_of_one_stage() -> None:
    frames = [[1.0, 1.5, 2.5], [3.0, 3.25]]
    assert imports.gaps_within(frames, 0.0, 9.0) == [0.5, 1.0, 0.25]
    assert imports.gaps_within(frames, 1.2, 3.1) == [1.0]


def test_growth_is_of_the_p99_of_all_rounds() -> None:
    rounds = [{imports.ALONE: [10.0], imports.IMPORTING: [11.0]}, {imports.ALONE: [10.0], imports.IMPORTING: [11.0]}]
    figures = imports.pool(rounds)
    assert figures[imports.ALONE]["count"] == 2
    assert imports.growth(figures) == pytest.approx(0.1)
