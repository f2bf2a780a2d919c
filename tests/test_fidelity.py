"""The measures of fidelity: sentences, claims, constraints, atoms, shares; and both judges of candidates."""

from collections.abc import Sequence

import pytest

from characters.card import CardData, CharacterCard
from characters.library import load_library
from characters.profile import Profile
from models.evaluation.apc import satisfaction, score_apc
from models.evaluation.atomic import find_level, score_atoms
from models.evaluation.fidelity import Candidate, Entailment, Likelihood, Moment, build_bare_prompt
from models.evaluation.lineup import OPTIONS, build_lineups, mask
from models.evaluation.proportion import Proportion
from models.evaluation.sentences import split_sentences
from models.evaluation.statements import MOST_CHARACTERS, MOST_STATEMENTS, build_statements
from models.evaluation.trials import Trial, compare_pairs, score_trials
from models.nli import NliError, Pair, Verdict, find_places
from models.renderer import Renderer, Turn
from models.scene import UserPersona
from tests.fake_engine import FakeEngine, Script

# Sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Yes. No! Why?", ["Yes.", "No!", "Why?"]),
        ("*She nods.* Dr. Vesk left at 3.15. So what…", ["*She nods.*", "Dr. Vesk left at 3.15.", "So what…"]),
        ("“Go on,” she said. “Now.”", ["“Go on,” she said.", "“Now.”"]),
        ("J. R. Moss is here.\nAnd gone", ["J. R. Moss is here.", "And gone"]),
        ("そうです。いいえ！", ["そうです。", "いいえ！"]),
        ("… !? ---", []),
        ("", []),
        ("I saw Dr.", ["I saw Dr."]),
    ],
)
def test_prose_is_cut_into_sentences(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_no_word_is_lost_between_sentences() -> None:
    for card in load_library().values():
        assert " ".join(split_sentences(card.data.first_mes)).split() == card.data.first_mes.split()


# Claims


def test_a_profile_claims_what_it_says() -> None:
    profile = Profile(name="Oru", age="31", likes="plums.", habits=["hums"], relationships={"Mara": "sister"})
    claims = build_statements(CharacterCard(data=CardData(name="Oru"), profile=profile, persona="A baker"))
    assert claims == [
        "Oru is called Oru.",
        "Oru's age is 31.",
        "Oru likes plums.",
        "Oru has this habit: hums.",
        "Mara is this to Oru: sister.",
        "Oru is this: A baker.",
    ]


def test_a_description_is_claimed_sentence_by_sentence() -> None:
    card = CharacterCard(data=CardData(name="Oru", description="{{char}} bakes. He knows {{user}}."))
    assert build_statements(card, UserPersona("Sam")) == ["Oru bakes.", "He knows Sam."]


def test_claims_are_bounded() -> None:
    long = CardData(name="Oru", description="word " * 5000 + ". " + "This is number. " * 5 + "One. Two. " * 500)
    claims = build_statements(CharacterCard(data=long, profile=Profile(habits=[str(n) for n in range(32)])))
    assert len(claims) <= MOST_STATEMENTS
    assert max(map(len, claims)) <= MOST_CHARACTERS
    assert build_statements(CharacterCard(data=CardData(name="Oru"))) == []


# Constraints


@pytest.mark.parametrize(
    ("verdict", "relevance", "kept"),
    [
        (Verdict(1, 0, 0), 1.0, 1.0),
        (Verdict(0, 1, 0), 1.0, 0.0),
        (Verdict(0, 1, 0), 0.0, 1.0),
        (Verdict(0, 0, 1), 0.0, 0.0),
        (Verdict(0.5, 0.25, 0.25), 0.5, 0.625),
    ],
)
def test_a_constraint_is_active_where_it_matters(verdict: Verdict, relevance: float, kept: float) -> None:
    assert satisfaction(verdict, relevance) == pytest.approx(kept)


def test_apc_gains_by_what_is_borne_out_and_loses_by_what_is_not() -> None:
    silence = score_apc([Verdict(0, 1, 0)] * 3)
    assert (silence.total, silence.gain, silence.mean) == (3, 0, 1)
    assert score_apc([Verdict(1, 0, 0), Verdict(0, 1, 0)]).gain > 0
    assert score_apc([Verdict(0, 0, 1), Verdict(0, 1, 0)]).total < score_apc([Verdict(1, 0, 0), Verdict(0, 1, 0)]).total
    assert score_apc([]).mean == 0


# Atoms


@pytest.mark.parametrize(("score", "level"), [(1, "low"), (2, "low"), (3, "neutral"), (4, "high"), (5, "high")])
def test_scores_lie_in_thirds(score: int, level: str) -> None:
    assert find_level(score) == level


def test_atoms_tell_what_was_meant_and_how_alike_it_is() -> None:
    score = score_atoms([[[5, 5, 1, 9]], [[5, 5, 1]]], "high")
    assert score.accuracy == pytest.approx(2 / 3)
    assert score.inner == pytest.approx(1 - 1.8856 / 2, abs=1e-4)
    assert (score.between, score.sentences) == (1.0, 6)


def test_atoms_of_two_extremes_are_as_unlike_as_can_be() -> None:
    score = score_atoms([[[1, 1]], [[5, 5]]], "low")
    assert (score.accuracy, score.inner, score.between) == (0.5, 1.0, -1.0)


def test_what_shows_nothing_counts_for_nothing() -> None:
    score = score_atoms([[[9, 9], []], [[3]]], "neutral")
    assert (score.accuracy, score.inner, score.between, score.sentences) == (1.0, None, None, 1)


# Shares


def test_an_interval_is_honest_about_few_trials() -> None:
    assert Proportion(0, 0).interval == (0, 1)
    assert list(Proportion(10, 10).interval) == pytest.approx([0.7225, 1.0], abs=1e-4)
    low, high = Proportion(81, 263).interval
    assert low == pytest.approx(0.2553, abs=1e-3)
    assert high == pytest.approx(0.3662, abs=1e-3)


def test_a_gain_is_measured_in_pairs() -> None:
    gain, (low, high) = compare_pairs([(False, True)] * 10 + [(True, True)] * 90)
    assert (gain, low > 0, high < 0.2) == (0.1, True, True)
    gain, (low, high) = compare_pairs([(True, True)] * 72)
    assert gain == 0.0
    assert -0.05 < low < -0.01 < 0.01 < high < 0.05
    assert compare_pairs([]) == (0.0, (-1.0, 1.0))
    trials = [Trial("field", [False, True], [True, True], 1), Trial("talk", [True, True], [False, False], 0)]
    scores = score_trials(trials)
    assert (scores["card"]["gain"], scores["card"]["possible"]["share"], scores["voice"]["gain"]) == (1.0, 1.0, 0.0)


# Judges


CARD = CharacterCard(data=CardData(name="Oru"), profile=Profile(name="Oru", birth_place="Kittiwake", likes="plums"))


def candidate(renderer: Renderer, text: str) -> Candidate:
    ids = renderer.encode(text)
    return Candidate(text, ids, [-1.0] * len(ids))


@pytest.mark.anyio
async def test_likelihood_prefers_what_the_card_makes_likelier(renderer: Renderer) -> None:
    script = Script(alone={"From Kittiwake.": -50.0, "From a barrel.": -3.0})
    judge = Likelihood(FakeEngine(renderer, script))
    moment = Moment(CARD, UserPersona(), [Turn("user", renderer.encode("Where are you from?"))])
    true, false = await judge.score(
        [candidate(renderer, "From Kittiwake."), candidate(renderer, "From a barrel.")], moment
    )
    assert true > 0 > false


def test_a_bare_prompt_names_the_speaker_alone(renderer: Renderer) -> None:
    turns = [Turn("user", renderer.encode(f"Message number {number}.")) for number in range(20)]
    text = renderer.decode(build_bare_prompt(renderer, Moment(CARD, UserPersona(), turns), 2000))
    assert "Oru" in text
    assert not any(word in text for word in ("Kittiwake", "plums", "number 0."))
    assert text.count("Message number") == 3


def test_a_bare_prompt_begins_with_a_message_of_the_users(renderer: Renderer) -> None:
    said = [Turn("assistant", renderer.encode("Hello.")), Turn("user", renderer.encode("And you?"))]
    begun = Turn("assistant", renderer.encode("I was"))
    text = renderer.decode(build_bare_prompt(renderer, Moment(CARD, UserPersona(), [*said, begun]), 2000))
    assert "Hello." not in text
    assert text.endswith("I was")


class FakeNli:
    """Takes what shares a long word with a claim to bear it out."""

    async def judge(self, pairs: Sequence[Pair]) -> list[Verdict]:
        def shares(premise: str, claim: str) -> bool:
            return any(len(word) > 5 and word in premise for word in claim.strip(".").split())

        return [Verdict(1, 0, 0) if shares(*pair) else Verdict(0, 1, 0) for pair in pairs]

    async def close(self) -> None:
        pass


@pytest.mark.anyio
async def test_entailment_prefers_what_bears_claims_out(renderer: Renderer) -> None:
    texts = ("Nice day.", "From Kittiwake, where else?")
    moment = Moment(CARD, UserPersona(), [])
    scores = await Entailment(FakeNli()).score([candidate(renderer, text) for text in texts], moment)
    assert scores == [0.0, 1.0]


@pytest.mark.parametrize(
    ("labels", "places"),
    [
        ({0: "contradiction", 1: "entailment", 2: "neutral"}, [1, 2, 0]),
        ({0: "ENTAILMENT", 1: "NEUTRAL", 2: "CONTRADICTION"}, [0, 1, 2]),
    ],
)
def test_labels_are_found_by_their_names(labels: dict[int, str], places: list[int]) -> None:
    assert find_places(labels) == places


@pytest.mark.parametrize("labels", [{0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, {0: "entailment", 1: "not_entailment"}])
def test_a_classifier_of_something_else_is_refused(labels: dict[int, str]) -> None:
    with pytest.raises(NliError, match="neutral and contradiction are needed"):
        find_places(labels)


# Lineups


def test_lineups_name_nobody() -> None:
    cards = load_library()
    lineups = build_lineups(cards, 1)
    assert len(lineups) >= 2 * len(cards)
    for lineup in lineups:
        assert lineup.speaker in lineup.options
        assert len(lineup.options) == OPTIONS
        assert not any(card.name in lineup.line for card in cards.values())
    assert build_lineups(cards, 1) == lineups
    assert build_lineups(cards, 2) != lineups


def test_names_are_blotted_out() -> None:
    assert mask("Lyra sighs. I am Lyra Tamm. Come in.", ["Lyra Tamm"]) == "— sighs. Come in."
