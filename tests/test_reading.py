"""Reading a text piece by piece: every word of it once, in order, in pieces that leave room for the profile."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from characters.profile import SYNTHESIS_LENGTHS
from models.renderer import Renderer
from models.synthesis.form import ProfileTooLong
from models.synthesis.manuscript import Manuscript, fold_text
from models.synthesis.profile_prompt import SYSTEM
from models.synthesis.reading import LEAST_PIECE_TOKENS, NameMissing, Reading

CONTEXT = 4096
SENTENCES = [
    "Lyra Tamm came home late, and the lamp was out.",
    "“Who is there?” said her brother.",
    "She didn't answer; she never did.",
    "The rain had been at the door for a week!",
]
CHAPTER = " ".join(f"{number}. {SENTENCES[number % 4]}" for number in range(400))


Bind = Callable[[str], Manuscript]


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory) -> Bind:
    """Makes a manuscript of a text."""
    folder = tmp_path_factory.mktemp("texts")

    def make(text: str) -> Manuscript:
        (folder / "sent").write_text(text)
        return fold_text(folder / "sent", folder / f"{hash(text)}")

    return make


def read_all(renderer: Renderer, reading: Reading, value: str = "x") -> list[str]:
    """The text of each piece; each time all fields become `value`, as long as it may be."""
    pieces = []
    while not reading.done:
        *_, user = reading.ask()
        prompt = renderer.render([*_, user])
        assert len(prompt) + reading.form.longest_tokens <= reading._max_model_len
        pieces.append(re.split(r"says:|on about \w+:", renderer.decode(user.token_ids), maxsplit=1)[1])
        assert reading.pieces >= len(pieces)
        reading.learn({field: (value * length)[:length] for field, length in reading.form.lengths.items()})
    return pieces


def test_every_word_is_read_once_and_in_order(renderer: Renderer, bind: Bind) -> None:
    reading = Reading(renderer, CONTEXT, bind(CHAPTER.replace(". ", ".\n\n ")), "Lyra")
    pieces = read_all(renderer, reading)
    assert "".join(pieces).split() == CHAPTER.split()
    assert len(pieces) > 3
    assert reading.read == reading.pieces == len(pieces)


def test_piece_ends_where_a_sentence_does(renderer: Renderer, bind: Bind) -> None:
    *pieces, _ = read_all(renderer, Reading(renderer, CONTEXT, bind(CHAPTER), "Lyra"))
    assert all(re.search(r"[.!?”]$", piece) for piece in pieces)


def test_pieces_use_the_room_that_there_is(renderer: Renderer, bind: Bind) -> None:
    reading = Reading(renderer, CONTEXT, bind(CHAPTER), "Lyra")
    reading.ask()
    first = reading.ask()
    assert len(renderer.render(first)) + reading.form.longest_tokens > 0.8 * CONTEXT


def test_short_text_is_one_piece(renderer: Renderer, bind: Bind) -> None:
    reading = Reading(renderer, CONTEXT, bind(SENTENCES[0]), "Lyra Tamm")
    system, user = reading.ask()
    assert renderer.decode(system.token_ids) == SYSTEM
    assert renderer.decode(user.token_ids) == f"Lyra Tamm, of whom a text says: {SENTENCES[0]}"
    assert (reading.done, reading.pieces) == (True, 1)


def test_what_is_known_stands_before_the_next_piece(renderer: Renderer, bind: Bind) -> None:
    reading = Reading(renderer, CONTEXT, bind(CHAPTER), "Lyra")
    reading.ask()
    assert reading.learn({"age": "40", "goal": "to sleep"}) == ["age", "goal"]
    assert reading.learn({"age": "41", "goal": "to sleep"}) == ["age"]
    *_, user = reading.ask()
    assert "Known so far: Age: 41; Goal: to sleep." in renderer.decode(user.token_ids)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["x", "ß", "鸟", "🐟", "word "]),
    st.sampled_from(["word ", "слово ", "鸟", "𐌰 ", "a. "]),
    st.sampled_from(["Lyra", "鸟" * 40]),
    st.integers(2048, 16_384),
)
def test_any_text_fits_any_context_or_is_refused(
    renderer: Renderer, bind: Bind, value: str, unit: str, name: str, context: int
) -> None:
    text = f"{name} " + unit * 4000
    try:
        reading = Reading(renderer, context, bind(text), name)
    except ProfileTooLong:
        assert context < 2 * CONTEXT
        return
    value = value if len(value.encode()) <= reading.form.char_bytes or value == "word " else "x"
    while not reading.done:
        prompt = renderer.render(reading.ask())
        assert len(prompt) + reading.form.longest_tokens <= context
        reading.learn({field: (value * length)[:length] for field, length in reading.form.lengths.items()})
    assert reading.read * LEAST_PIECE_TOKENS / 4 <= len(renderer.encode(text)) + LEAST_PIECE_TOKENS


@pytest.mark.parametrize("name", ["Lyra", "lyra", "LYRA TAMM", "Miss Tamm", "林"])
def test_name_or_a_word_of_it_is_found(renderer: Renderer, bind: Bind, name: str) -> None:
    Reading(renderer, CONTEXT, bind("Lyra Tamm met 林黛玉."), name)


@pytest.mark.parametrize(("name", "text"), [("Lyr", "Aylyrand"), ("Odo", "Nobody. “Todo,” he said.")])
def test_name_that_is_not_in_the_text_is_refused(renderer: Renderer, bind: Bind, name: str, text: str) -> None:
    with pytest.raises(NameMissing, match=name):
        Reading(renderer, CONTEXT, bind(text), name)


def test_form_keeps_the_name(renderer: Renderer, bind: Bind) -> None:
    form = Reading(renderer, CONTEXT, bind(CHAPTER), "Lyra").form
    assert form.json_schema()["properties"]["name"] == {"const": "Lyra"}
    assert set(form.lengths) == set(SYNTHESIS_LENGTHS) - {"name"}
