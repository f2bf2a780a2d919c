"""The shipped characters: valid, whole, short enough for small contexts, and each with a voice of its own."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from characters.card import CharacterCard, parse_card, slug
from characters.library import FOLDER, load_library
from characters.profile import LABELS, SYNTHESIS_LENGTHS
from models.sections import head_text, tail_text

LIBRARY = load_library()
FILES = sorted(FOLDER.glob("*.json"))

V2_STRINGS = (
    "name",
    "description",
    "personality",
    "scenario",
    "first_mes",
    "mes_example",
    "creator_notes",
    "system_prompt",
    "post_history_instructions",
    "creator",
    "character_version",
)
# The voices that the embedded model knows by name: a speech style opens with one and may add to it.
SPEECH_STYLES = (
    "short, clipped sentences",
    "formal and courteous, no contractions",
    "a sailor's talk, full of the sea",
    "poetic, in images",
    "bright and bubbly, full of exclamation marks",
    "shy and halting, trailing off",
    "old-fashioned, with thee and thou",
    "dry and world-weary, like a detective's voice-over",
    "precise and learned",
    "homely, full of country sayings",
    "sarcastic, with a raised eyebrow",
    "in riddles, of signs and stars",
    "loose and slangy",
    "warm, calls everybody dear",
    "grand and dramatic, as on a stage",
    "gruff and grumbling",
)
CONTRACTION = re.compile(r"\b\w+(?:n't|'ll|'ve|'re|'m|'d)\b|\b(?:it|that|he|she|there|what|who)'s\b", re.IGNORECASE)
SPECIAL_TOKEN = re.compile(r"<\||\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<\w*(?:bos|eos)\w*>")
PLACEHOLDER = re.compile(r"TODO|FIXME|TBD|XXX|lorem ipsum", re.IGNORECASE)
MAX_WORDS = 500
SHINGLE = 5

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
every_card = pytest.mark.parametrize("card", LIBRARY.values(), ids=LIBRARY.keys())


def read(path: Path) -> Any:
    return orjson.loads(path.read_bytes())


def spoken(card: CharacterCard) -> list[str]:
    """What the character says aloud, actions left out: greetings and the example's replies."""
    replies = re.findall(r"^\{\{char\}\}: (.*)$", card.data.mes_example, re.MULTILINE)
    return [re.sub(r"\*[^*]*\*", " ", text) for text in (*card.greetings(), *replies)]


def prose(card: CharacterCard) -> list[str]:
    data = card.data
    return [data.description, data.personality, data.scenario, data.mes_example, data.creator_notes, *card.greetings()]


def shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[\w']+", text.lower())
    return {tuple(words[at : at + SHINGLE]) for at in range(len(words) - SHINGLE + 1)}


def test_library_has_a_dozen_characters_and_lyra() -> None:
    assert len(LIBRARY) >= 12
    assert "lyra" in LIBRARY


def test_library_is_sorted_and_names_every_file() -> None:
    assert list(LIBRARY) == sorted(path.stem for path in FILES)


def test_library_has_distinct_names() -> None:
    assert len({card.name for card in LIBRARY.values()}) == len(LIBRARY)


def test_library_has_distinct_speech_styles() -> None:
    styles = [
        next((style for style in SPEECH_STYLES if card.profile and card.profile.speech_style.startswith(style)), None)
        for card in LIBRARY.values()
    ]
    assert None not in styles
    assert len(set(styles)) == len(LIBRARY)


def test_library_spans_ages_from_ten_to_ninety_and_one_uncountable() -> None:
    ages = [card.profile.age for card in LIBRARY.values() if card.profile]
    numbers = [int(age) for age in ages if age.isdigit()]
    assert (min(numbers), max(numbers)) == (10, 90)
    assert len(ages) - len(numbers) == 1


@every_file
def test_file_is_plain_v2(path: Path) -> None:
    value = read(path)
    data = value["data"]
    assert set(value) == {"spec", "spec_version", "data"}
    assert (value["spec"], value["spec_version"]) == ("chara_card_v2", "2.0")
    assert set(data) == {*V2_STRINGS, "alternate_greetings", "tags", "extensions"}
    assert all(isinstance(data[field], str) for field in V2_STRINGS)
    assert all(isinstance(text, str) and text for field in ("alternate_greetings", "tags") for text in data[field])


@every_file
def test_file_name_is_a_slug_of_the_name(path: Path) -> None:
    assert slug(path.stem) == path.stem
    assert path.stem in slug(LIBRARY[path.stem].name).split("-")


@every_file
def test_file_comes_back_as_it_was(path: Path) -> None:
    card = LIBRARY[path.stem]
    assert card.to_v2() == read(path)
    assert parse_card(card.to_v2()) == card
    assert parse_card(card.to_v3()) == card


@every_file
def test_file_has_no_placeholder_and_no_token_markup(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not PLACEHOLDER.search(text)
    assert not SPECIAL_TOKEN.search(text)


@every_file
def test_file_has_only_macros_we_expand(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"\{\{.*?\}\}", text)) <= {"{{char}}", "{{user}}"}
    assert not re.search(r"\{\{|<(?:USER|BOT|CHAR)>", re.sub(r"\{\{(?:char|user)\}\}", "", text), re.IGNORECASE)


@every_card
def test_card_has_persona_and_whole_profile_within_bounds(card: CharacterCard) -> None:
    assert card.persona
    assert card.profile
    assert card.profile.name == card.name
    for field in LABELS:
        value = getattr(card.profile, field)
        assert 0 < len(value) <= SYNTHESIS_LENGTHS[field], field
        assert not re.search(r'["\\\n]|\{\{', value), field


@every_card
def test_card_has_several_greetings(card: CharacterCard) -> None:
    assert len(set(card.greetings())) == 1 + len(card.data.alternate_greetings)
    assert 2 <= len(card.data.alternate_greetings) <= 3


@every_card
def test_card_has_one_short_example(card: CharacterCard) -> None:
    example = card.data.mes_example
    assert example.startswith("<START>\n{{user}}: ")
    assert example.count("<START>") == 1
    assert "\n{{char}}: " in example
    assert len(example.split()) < 80


@every_card
def test_card_speaks_for_nobody_else(card: CharacterCard) -> None:
    assert not any(re.search(r"\{\{user\}\}\s*:", text) for text in card.greetings())


@every_card
def test_card_fits_small_contexts(card: CharacterCard) -> None:
    longest = max(card.greetings(), key=lambda text: len(text.split()))
    assert len(f"{head_text(card)} {tail_text(card)} {longest}".split()) < MAX_WORDS


@every_card
def test_card_prose_adds_to_the_profile(card: CharacterCard) -> None:
    assert card.profile
    told = set().union(*(shingles(getattr(card.profile, field)) for field in LABELS))
    assert not told & set().union(*(shingles(text) for text in prose(card)))


@every_card
def test_card_speaks_in_its_style(card: CharacterCard) -> None:
    assert card.profile
    style = card.profile.speech_style
    texts = spoken(card)
    assert len(texts) == len(card.greetings()) + 1
    if "no contractions" in style:
        assert not any(CONTRACTION.search(text) for text in texts)
    if "exclamation marks" in style:
        assert all(text.count("!") >= 2 for text in texts)
    if "trailing off" in style:
        assert all("..." in text for text in texts)
    if "thee and thou" in style:
        assert all(re.search(r"\b(?:thee|thou|thy)\b", text, re.IGNORECASE) for text in texts)
    if "calls everybody dear" in style:
        assert all(re.search(r"\bdear\b", text) for text in texts)
