"""How memories are cut out of what was said, ranked and told: pure, on the words alone."""

import numpy as np
import pytest

from loadtest.planted import FACTS, draw_chat, places
from models.embedding import normalized, parse_embeddings
from models.memory.extraction import Note, is_grounded, parse_extract
from models.memory.keywords import Keywords, words_of
from models.memory.mood import EMOTIONS, NEUTRAL, mood_name, named_mood, read_moods
from models.memory.outline import outline
from models.memory.passages import (
    MOST_PASSAGES,
    MOST_SENTENCES,
    PASSAGE_CHARACTERS,
    Said,
    asked,
    aspects,
    passages,
    split,
    tells_of_self,
)
from models.memory.ranking import Weights, best, blend, build_aspects, rank


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def words(*texts: str) -> list[frozenset[str]]:
    return [frozenset(words_of(text)) for text in texts]


# Passages


def test_short_exchange_is_one_passage() -> None:
    said = [Said("1", "Sam", "My cat is called Miso."), Said("2", "Lyra", "A fine name.")]
    assert passages(said) == ["Sam: My cat is called Miso. / Lyra: A fine name."]


def test_long_exchange_is_cut_between_sentences_and_each_piece_names_its_speaker() -> None:
    story = " ".join(f"This is sentence number {number} of a long tale." for number in range(30))
    found = passages([Said("1", "Sam", story), Said("2", "Lyra", "I see.")])
    assert len(found) > 2
    assert all(piece.startswith("Sam: This is") and piece.endswith("tale.") for piece in found[:-1])
    assert found[-1] == "Lyra: I see."


@pytest.mark.parametrize("text", ["x" * 2_000_000, "word " * 400_000, "Ja. " * 500_000], ids=["run", "words", "short"])
def test_text_of_any_length_is_cut_into_few_pieces(text: str) -> None:
    pieces = split(text)
    assert len(pieces) <= MOST_PASSAGES
    assert all(0 < len(piece) <= PASSAGE_CHARACTERS for piece in pieces)


@pytest.mark.parametrize("text", ["", " \n ", "\x00\x01"])
def test_nothing_said_is_nothing_remembered(text: str) -> None:
    assert passages([Said("1", "Sam", text)]) == []


def test_memory_is_looked_for_by_each_sentence_that_tells_something() -> None:
    text = "Sam: I moved. My cat is called Miso! Do you like cats? / Lyra: *smiles* A fine name. Why Miso?"
    assert aspects(text) == [text, "I moved.", "My cat is called Miso!", "*smiles* A fine name."]


@pytest.mark.parametrize("text", ["It rains.", "Sam: What is it?", "x" * 2000, "", ": ", " / / "])
def test_memory_of_no_sentences_is_looked_for_as_a_whole(text: str) -> None:
    assert aspects(text) == [text]


def test_memory_of_many_sentences_is_looked_for_by_the_first_of_them() -> None:
    assert len(aspects(" ".join(f"Number {number}." for number in range(600)))) == 1 + MOST_SENTENCES


# Words


def test_words_find_the_text_that_holds_the_rare_one() -> None:
    index = Keywords(["the dog barks", "the cat sleeps", "the dog and the cat"])
    found = index.scores("Does the cat sleep?")
    assert found.argmax() == 1
    assert (found >= 0).all()
    assert (found < 1).all()


@pytest.mark.parametrize("question", ["", "?!", "What did you say to me?", "zebra"])
def test_words_that_are_nowhere_find_nothing(question: str) -> None:
    assert not Keywords(["the dog barks", "the cat sleeps"]).scores(question).any()


@pytest.mark.parametrize("texts", [[], [""], ["", "?"]])
def test_index_of_nothing_finds_nothing(texts: list[str]) -> None:
    assert not Keywords(texts).scores("dog").any()


def test_words_are_found_in_scripts_without_spaces() -> None:
    found = Keywords(["我的猫叫味噌", "今天下雨了"]).scores("你的猫叫什么?")
    assert found.argmax() == 0
    assert found[0] > 0


# Ranking


def test_meaning_comes_before_mood_and_recency() -> None:
    joy = named_mood("joy")
    moods = np.array([NEUTRAL, joy, NEUTRAL])
    found = rank(scores(0.55, 0.5, 0.5), joy, moods, scores(9e9, 9e9, 0), Weights())
    assert found.argmax() == 0
    assert found[1] == pytest.approx(0.5 + 0.02)
    assert found[2] == pytest.approx(0.5 + 0.02)


def test_own_dog_comes_before_that_of_others() -> None:
    texts = [
        "Sam: A colleague has a dog.",
        "Sam: We have a dog. / Lyra: How nice.",
        "Sam: Do I have a dog?",
        "Sam: Hm.",
    ]
    own = np.array([tells_of_self(text) for text in texts])
    assert own.tolist() == [False, True, False, False]
    alike, neutral = scores(0.55, 0.5, 0.5, 0), np.zeros((4, 8), np.float32)
    assert rank(alike, NEUTRAL, neutral, scores(0, 0, 0, 0), Weights(), own=own).argmax() == 1
    assert rank(alike, NEUTRAL, neutral, scores(0, 0, 0, 0), Weights()).argmax() == 0


@pytest.mark.parametrize(
    ("said", "looked_up"),
    [
        ("I'm back. What is my cat called? It was packed.", "What is my cat called?"),
        ("Do you remember my tattoo? What is it of?", "Do you remember my tattoo? What is it of?"),
        ("Guess what? My cat had kittens.", "Guess what? My cat had kittens."),
        ("My cat had kittens.", "My cat had kittens."),
        ("", ""),
    ],
)
def test_who_asks_among_other_talk_looks_up_the_question(said: str, looked_up: str) -> None:
    assert asked(said) == looked_up


def test_what_means_something_else_never_comes_back() -> None:
    found = rank(scores(0.1, 0.4), NEUTRAL, np.zeros((2, 8), np.float32), scores(0, 9e9), Weights(recency=5))
    assert list(best(found, None, words("new", "old"))) == [1]


def test_a_clock_that_is_behind_makes_nothing_newer_than_new() -> None:
    found = rank(scores(0.5, 0.5), NEUTRAL, np.zeros((2, 8), np.float32), scores(-9e9, 0), Weights())
    assert found[0] == found[1]


def test_memories_that_say_the_same_come_back_once() -> None:
    texts = words("a red kite over the sea", "over the sea a red kite", "a blue kite in the garden")
    assert list(best(scores(0.9, 0.8, 0.3), None, texts)) == [0, 2]


def test_ten_alike_do_not_hide_the_one_that_is_not() -> None:
    crowd = np.array([[1, 0.3 + 0.01 * number, 0] for number in range(10)] + [[0.6, 0, 1]])
    found = best(scores(*[0.5] * 10, 0.45), normalized(crowd), words(*"abcdefghijk"))
    assert [next(found), next(found)] == [0, 10]


def test_memory_is_as_like_a_question_as_its_text_and_its_likest_sentence_are() -> None:
    known = build_aspects([np.array([[0, 1], [1, 0], [0, 1]]), np.array([[np.nan, np.nan]]), np.array([[0.6, 0.8]])])
    found = known.likeness(scores(1, 0))
    assert found[[0, 2]].tolist() == [0.5, pytest.approx(0.6)]
    assert np.isnan(found[1])
    assert known.texts[[0, 2]].tolist() == [[0, 1], [pytest.approx(0.6), pytest.approx(0.8)]]


def test_memory_without_a_vector_is_found_by_its_words() -> None:
    meaning = blend(scores(np.nan, 0.5), scores(0.4, 0.0))
    assert meaning[0] == pytest.approx(0.4)
    assert meaning[1] == pytest.approx(0.5)
    vectors = np.array([[np.nan, np.nan], [1, 0]], np.float32)
    assert list(best(meaning, vectors, words("a", "b"))) == [1, 0]


def test_every_fact_is_planted_once_among_other_talk() -> None:
    chat, where = draw_chat(300, seed=7), [place for [place] in places(300, seed=7)]
    assert [chat[place] for place in where] == [(fact.told, fact.answer) for fact in FACTS]
    assert all(sum(said == fact.told for said, _ in chat) == 1 for fact in FACTS)
    assert max(where) < 200


def test_words_alone_recall_half_of_the_planted_facts() -> None:
    chat, where = draw_chat(300), [place for [place] in places(300)]
    texts = [f"Sam: {said} / Lyra: {answer}" for said, answer in chat]
    index, found = Keywords(texts), words(*texts)
    hits = 0
    for fact, place in zip(FACTS, where, strict=True):
        ranked = rank(
            index.scores(fact.question), NEUTRAL, np.zeros((300, 8), np.float32), scores(*[0] * 300), Weights()
        )
        hits += place in [index for index, _ in zip(best(ranked, None, found), range(3), strict=False)]
    assert hits >= len(FACTS) / 2


# Moods


def test_mood_is_the_emotion_that_stands_out() -> None:
    anchors = np.eye(8, dtype=np.float32)
    moods = read_moods(np.array([anchors[6], np.full(8, 8**-0.5)], np.float32), anchors)
    assert mood_name(moods[0].tolist()) == "anger"
    assert mood_name(moods[1].tolist()) is None
    assert np.linalg.norm(moods[0]) == pytest.approx(1)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_named_mood_has_its_name(emotion: str) -> None:
    assert mood_name(named_mood(emotion).tolist()) == emotion


# What a model writes


def test_extract_keeps_what_was_said_and_drops_what_was_not() -> None:
    reply = (
        '{"summary": "Sam buried the old dog Brandt.", "events": [{"text": "Sam buried Brandt.", "mood": "sadness"}],'
        ' "user": [{"text": "Sam owns a castle in Bavaria.", "mood": "joy"}], "character": []}'
    )
    extract = parse_extract(reply, ["Sam", "We buried our old dog Brandt on Sunday."])
    assert extract.summary == "Sam buried the old dog Brandt."
    assert extract.notes == (Note("event", "Sam buried Brandt.", "sadness"),)


@pytest.mark.parametrize("reply", ["", "word0 word1", "[]", "{}", '{"summary": 1}', '{"summary": "", "events": 3}'])
def test_reply_that_is_no_extract_is_refused(reply: str) -> None:
    with pytest.raises(ValueError, match=r"extract|JSON|expected|unexpected|empty"):
        parse_extract(reply, ["dog"])


def test_a_loop_is_not_grounded() -> None:
    assert not is_grounded("dog dog dog dog dog dog", frozenset(words_of("The dog.")))


# What is told of what has left


def test_outline_fits_and_keeps_the_order() -> None:
    said = [Said(str(number), "Sam", f"Fact {number}: the {name} is blue.") for number, name in enumerate("abcdef")]
    told = outline("- before\n- and later", said, len, 120)
    lines = told.splitlines()
    assert sum(map(len, lines)) <= 120
    assert lines[:2] == ["- before", "- and later"]
    assert lines[2:] == sorted(lines[2:])
    assert len(lines) > 3


def test_outline_prefers_what_is_told_to_what_is_asked() -> None:
    said = [Said("1", "Sam", "Is that a boat or a ship or a raft?"), Said("2", "Sam", "I was born in Graz.")]
    assert outline("", said, len, 40) == "- Sam: I was born in Graz."


def test_outline_of_nothing_is_nothing() -> None:
    assert outline("", [], len, 100) == ""


# What a server answers


def test_embeddings_are_read_in_their_order_at_length_one() -> None:
    answer = {"data": [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 0]}]}
    assert parse_embeddings(answer, 2).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("scale", [1e-300, 1, 1e300])
def test_vector_of_any_length_has_length_one(scale: float) -> None:
    assert normalized(np.array([[3 * scale, 4 * scale]])).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        None,
        {"data": [{"index": 0, "embedding": "abc"}]},
        {"data": [{"index": 0, "embedding": [0, 0]}]},
        {"data": [{"index": 0, "embedding": [1, None]}]},
        {"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1]}]},
        {"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1, 2]}]},
    ],
)
def test_broken_embeddings_are_refused(answer: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # each says what is wrong in its own words
        parse_embeddings(answer, 1)
