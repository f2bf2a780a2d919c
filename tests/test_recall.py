"""The measure of the embedded model: verdicts that can fail, and the model on ten characters it never met."""

import asyncio
from dataclasses import replace
from random import Random

import orjson
import pytest

from characters.profile import LABELS
from models.evaluation.episodes import PERSONAS, Episode, Question, build_episodes, build_personas
from models.evaluation.marks import contains_phrase, leaks_markup, recalls, share, shares_words
from models.evaluation.play import Reply
from models.evaluation.recall import Report, is_valid_profile, judge, measure
from models.synthesis.replies import Speaker
from models.synthesis.values import Value
from models.synthesis.voices import load_voices
from tests.conftest import TINY


@pytest.mark.parametrize(
    ("field", "value", "reply", "verdict"),
    [
        ("name", "Oru Vesk", "Aye. They call me ORU  VESK, matey.", True),
        ("name", "Oru Vesk", "They call me Oru Vost.", False),
        ("name", "Oru", "Orun is my name.", False),
        ("age", "31", "I am 31.", True),
        ("age", "31", "I am 131.", False),
        ("friend", "Setsu, who owns the Blue Heron", "Setsu, nobody else.", True),
        ("birth_place", "Port Isaac, a village in Cornwall", "From port isaac.", True),
        (
            "likes",
            "jazz, burnt coffee and trains that leave on time",
            "Jazz, coffee, burnt; trains that leave in time.",
            True,
        ),
        ("likes", "jazz, burnt coffee and trains that leave on time", "I like jazz.", False),
        ("secret", "I once stole a boat from Mara Tull", "I never stole anything.", False),
    ],
)
def test_a_verdict_follows_the_words(field: str, value: str, reply: str, verdict: bool) -> None:
    assert recalls(field, Value(value, value), reply) is verdict


@pytest.mark.parametrize(
    "reply",
    [
        "Hello<|eot_id|>",
        "start_header_id",
        "# Character Profile\nName: x",
        "assistant\n\nHi",
        "user: hi",
        "I am {{char}}.",
        "a\ufffdb",
    ],
)
def test_markup_is_seen(reply: str) -> None:
    assert leaks_markup(reply)


def test_plain_replies_leak_nothing() -> None:
    for voice in load_voices().values():
        for lines in voice.lines.values():
            assert not any(leaks_markup(line) for line in lines)
    assert not leaks_markup("*smiles* The user of this chair is an assistant of mine: 3 < 4, #1.")


def test_shares() -> None:
    assert share([True, False]) == 0.5
    assert share([]) == 0
    assert contains_phrase("He said: plum cake!", "plum cake")
    assert not shares_words("plum cake and snow", "plum")


def test_a_profile_is_valid_only_when_complete() -> None:
    complete = dict.fromkeys(LABELS, "x")
    assert is_valid_profile(orjson.dumps(complete).decode())
    assert not is_valid_profile(orjson.dumps(complete | {"goal": ""}).decode())
    assert not is_valid_profile(orjson.dumps(complete).decode()[:-3])
    assert not is_valid_profile("{}")


def play(episode: Episode, *, wrong: bool) -> list[Reply]:
    """What the grammar itself, or somebody who never listens, says in an episode."""
    speaker = Speaker(episode.character, random=Random(1))
    replies = []
    for question in episode.questions:
        text = "Bah."
        if not wrong:
            text = _right(speaker, question)
        replies.append(Reply(episode, question, text, True))
    return replies


def _right(speaker: Speaker, question: Question) -> str:
    match question.kind:
        case "field":
            return speaker.answer(question.about)
        case "recall":
            return speaker.compose(lambda: f"{question.wanted}.", "", question.wanted)
        case _:
            return speaker.own("greet")


def test_the_teacher_passes_and_a_fool_fails() -> None:
    episodes = build_episodes(32, 1)
    taught = judge([reply for episode in episodes for reply in play(episode, wrong=False)], [], 0)
    fool = judge([reply for episode in episodes for reply in play(episode, wrong=True)], ["{}"], 0)
    assert (taught.profile_recall, taught.user_recall) == (1, 1)
    assert taught.style_adherence > 0.97
    assert taught.style_by_chance < 0.3
    assert (fool.profile_recall, fool.user_recall, fool.valid_profiles) == (0, 0, 0)
    assert fool.style_adherence < 0.2
    leaky = [replace(reply, text="<|eot_id|>", finished=False) for reply in play(episodes[0], wrong=False)]
    assert judge(leaky, [], 0).markup_leaks == len(leaky) == judge(leaky, [], 0).unfinished


def test_personas_are_plenty_and_the_same_each_time() -> None:
    assert build_personas(200, 1) == build_personas(200, 1)
    assert len(set(build_personas(200, 1))) > 150
    assert set(PERSONAS) <= set(build_personas(200, 1))


@pytest.fixture(scope="module")
def report() -> Report:
    """The shipped model on ten characters at temperature 0, through the engine that serves."""
    return asyncio.run(measure(str(TINY), 10, 2, 4096, [0.0]))[0]


# Floors for ten characters, under what two hundred gave (models/tiny/README.md).
def test_the_embedded_model_reads_its_card(report: Report) -> None:
    assert report.profile_recall >= 0.9, report.misses


def test_the_embedded_model_keeps_its_voice(report: Report) -> None:
    assert report.style_adherence >= 0.9, report.by_voice


def test_the_embedded_model_remembers_what_the_user_said(report: Report) -> None:
    assert report.user_recall >= 0.75, report.misses


def test_the_embedded_model_writes_valid_profiles(report: Report) -> None:
    assert report.valid_profiles == 1


def test_the_embedded_model_shows_no_markup_and_stops(report: Report) -> None:
    assert report.markup_leaks == 0
    assert report.unfinished <= 0.03 * report.replies
