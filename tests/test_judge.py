"""What judges write, read: every form of a score that they are known to use, and nothing that is none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.judge import parse_examples, parse_verdicts, read_schema_examples, read_verdict, tell_examples
from models.synthesis.pipeline.task import BadAnswer
from models.synthesis.teachers.teacher import Answer


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Well done. Therefore, the final score is 4.", 4),
        ("Therefore, the final score is **5**.", 5),
        ("Therefore, the final score is: 3", 3),
        ("Therefore, the final score is 5/5.", 5),
        ("Therefore, the final score is 2 out of 5.", 2),
        ("**Final score: 4**", 4),
        ("therefore the Final Score is three", 3),
        ("The final score is 5.0.", 5),
        ("It could be that the final score is 2. Therefore, the final score is 3.", 3),
        ("(1) Evaluation: so. Therefore, the final score is 1", 1),
        ("Therefore, the final score is 4.5.", None),
        ("Therefore, the final score is 10.", None),
        ("Therefore, the final score is 0.", None),
        ("Therefore, the final score is 55.", None),
        ("I'd give it a 4.", None),
        ("", None),
    ],
)
def test_a_score_is_read_as_it_is_written(text: str, score: int | None) -> None:
    assert parse_verdicts(text, 1) == [score]


def test_evaluations_keep_their_numbers() -> None:
    text = (
        "**(1) Evaluation:** final score is 2.\n(2) Evaluation: I can't tell.\n\n(3) evaluation: the final score is 5."
    )
    assert parse_verdicts(text, 3) == [2, None, 5]


@pytest.mark.parametrize("numbers", [(1, 2), (1, 3, 2), (1, 2, 3, 4), (2, 3, 4), (1, 1, 2)])
def test_a_verdict_whose_evaluations_dont_match_the_answers_is_none(numbers: tuple[int, ...]) -> None:
    text = "\n".join(f"({number}) Evaluation: the final score is 5." for number in numbers)
    assert parse_verdicts(text, 3) == [None, None, None]


@given(st.text(max_size=300), st.integers(1, 5))
def test_any_text_gives_scores_on_the_scale_or_none(text: str, count: int) -> None:
    scores = parse_verdicts(text, count)
    assert len(scores) == count
    assert all(score in (None, 1, 2, 3, 4, 5) for score in scores)


def test_a_verdict_under_the_schema_is_read() -> None:
    assert read_verdict(Answer('{"reason": "so", "score": 4}', 5)) == (4, "so")


@pytest.mark.parametrize(
    "text",
    ['{"reason": "so", "score": 6}', '{"reason": "so", "score": true}', '{"score": 4}', "[]", "4", "", '{"reason": "s'],
)
def test_a_verdict_off_the_schema_is_none(text: str) -> None:
    with pytest.raises(BadAnswer):
        read_verdict(Answer(text, 5))


def test_a_verdict_that_was_cut_off_says_so() -> None:
    with pytest.raises(BadAnswer) as caught:
        read_verdict(Answer('{"reason": "and on and', 5, is_cut=True))
    assert caught.value.reason == "cut_short"


def test_examples_keep_all_their_lines() -> None:
    text = "\n".join(f"**Score {score}:**  Response - first\n\nsecond of {score}" for score in range(1, 6))
    assert parse_examples(text, 1) == [[f"first\n\nsecond of {score}" for score in range(1, 6)]]


def test_examples_of_several_questions_are_told_apart() -> None:
    one = "\n".join(f"Score {score}: Response - {{}}{score}" for score in range(1, 6))
    text = f"Rubric 1 Examples:\n{one.format(*'aaaaa')}\nRubric 2 Examples:\n{one.format(*'bbbbb')}"
    assert parse_examples(text, 2) == [[f"{letter}{score}" for score in range(1, 6)] for letter in "ab"]


@pytest.mark.parametrize("scores", [(1, 2, 3, 4), (1, 2, 3, 4, 4, 5), (2, 1, 3, 4, 5)])
def test_a_set_of_examples_that_lacks_a_score_is_none(scores: tuple[int, ...]) -> None:
    with pytest.raises(BadAnswer):
        parse_examples("\n".join(f"Score {score}: Response - so" for score in scores), 1)


def test_an_example_without_words_is_none() -> None:
    with pytest.raises(BadAnswer):
        parse_examples("\n".join(f"Score {score}: Response -" for score in range(1, 6)), 1)


def test_told_examples_are_read_again() -> None:
    examples = [f"this is {score}" for score in range(1, 6)]
    assert parse_examples(tell_examples(examples), 1) == [examples]
    as_json = json.dumps({f"score_{number}": text for number, text in enumerate(examples, 1)})
    assert read_schema_examples(Answer(as_json, 9)) == examples
