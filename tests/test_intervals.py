"""Intervals of means: they hold what they say, and pairs make them narrow."""

from random import Random

import pytest

from models.evaluation.intervals import estimate, estimate_gain


def test_the_standard_deviation_is_the_populations() -> None:
    one = estimate([1.0, 3.0])
    assert (one.mean, one.std, one.of) == (2.0, 1.0, 2)


def test_the_interval_is_as_wide_as_theory_has_it() -> None:
    random = Random(1)
    one = estimate([random.gauss(4, 0.5) for _ in range(400)])
    assert one.high - one.low == pytest.approx(2 * 1.96 * 0.5 / 20, rel=0.1)
    assert one.low < 4 < one.high


def test_equal_values_leave_no_doubt() -> None:
    one = estimate([4.0] * 10)
    assert (one.low, one.high, one.std) == (4.0, 4.0, 0.0)


def test_pairs_find_a_gain_that_differences_between_subjects_hide() -> None:
    random = Random(2)
    theirs = [random.gauss(3, 1) for _ in range(100)]
    ours = [value + 0.1 + random.gauss(0, 0.05) for value in theirs]
    gain = estimate_gain(ours, theirs)
    assert gain.is_clear
    assert gain.mean == pytest.approx(0.1, abs=0.02)
    assert not estimate_gain(theirs, ours[::-1]).is_clear


def test_the_same_values_give_the_same_interval() -> None:
    values = [1.0, 2.0, 4.0, 5.0, 5.0]
    assert estimate(values) == estimate(values)


def test_many_subjects_are_drawn_in_blocks() -> None:
    one = estimate([float(number % 5 + 1) for number in range(5_000)])
    assert one.low < 3 < one.high
