"""The long chats of the benchmark: how front-ends put them, what they name, and what is held against the targets."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from characters.card import CardData, CharacterCard
from loadtest.chats import Sampling
from loadtest.frontends import BookChat, FrontEndChat, WindowChat
from loadtest.longchat import sum_up
from loadtest.places import ENTRY_TOKENS, NAMED, build_card, build_lore, draw_lines
from loadtest.sample import TurnSample
from loadtest.window import FRONT_END, OURS, find_verdicts, stretch
from loadtest.workload import seeded
from models.renderer import Llama3Renderer, Turn
from models.scene import Scene
from models.sections import build_head

ROOT = Path(__file__).parent.parent
RENDERER = Llama3Renderer(Tokenizer.from_file(str(ROOT / "models" / "tiny" / "tokenizer.json")), "tiny")


def test_window_drops_the_oldest_messages_and_keeps_the_head() -> None:
    opening = [{"role": "system", "content": "You are Lyra."}, {"role": "assistant", "content": "Welcome in."}]
    chat = WindowChat("tiny", Sampling(), opening[:1], opening[1:], renderer=RENDERER, limit_tokens=120)
    for number in range(20):
        messages = chat.say(f"line {number}").body["messages"]
        turns = [Turn(message["role"], RENDERER.encode(message["content"])) for message in messages]
        assert len(RENDERER.render(turns)) <= 120
        assert messages[0] == opening[0]
        assert messages[-1]["content"] == f"line {number}"
        chat.heard(f"line {number}", "and so it goes on")
    assert messages[1] != opening[1]


def book_chat(kind: type[BookChat], limit_tokens: int = 2000) -> BookChat:
    """A chat with a book of two places."""
    card = CharacterCard(data=CardData(name="Odo", description="A baker.", first_mes="Good morning."))
    lore = {"Jarrow": "Jarrow burnt.", "Dunmoor": "Dunmoor is wet."}
    return kind("tiny", Sampling(), card, lore, "Be brief.", renderer=RENDERER, limit_tokens=limit_tokens)


def test_front_end_puts_lore_above_the_character_and_the_note_at_its_depth() -> None:
    chat = book_chat(FrontEndChat)
    for number in range(4):
        chat.say(f"line {number}")
        chat.heard(f"line {number}", f"reply {number}")
    said = [message["content"] for message in chat.say("And Jarrow?").body["messages"]]
    assert said[1] == "Jarrow burnt."
    assert "A baker." in said[2]
    assert "A baker." not in said[0]
    assert said[-5] == "Be brief."
    assert said[-4:] == ["reply 2", "line 3", "reply 3", "And Jarrow?"]


def test_sliding_window_alone_has_lore_and_note_before_the_last_message() -> None:
    said = [message["content"] for message in book_chat(BookChat).say("And Jarrow?").body["messages"]]
    assert said[-2:] == ["# World\nJarrow burnt.\n\nBe brief.", "And Jarrow?"]


@pytest.mark.parametrize("kind", [FrontEndChat, BookChat])
def test_chats_with_a_book_stay_in_their_budget(kind: type[BookChat]) -> None:
    chat = book_chat(kind, limit_tokens=200)
    for number in range(20):
        messages = chat.say(f"Jarrow, Dunmoor {number}").body["messages"]
        assert chat._count(messages) <= 200
        chat.heard(f"Jarrow, Dunmoor {number}", "and so it goes on")


def test_lines_name_as_many_places_as_are_to_fire() -> None:
    lore = build_lore(RENDERER)
    assert all(sum(place in line for place in lore) == NAMED for line in draw_lines(seeded(1), 50))
    assert all(abs(len(RENDERER.encode(text)) - ENTRY_TOKENS) <= 2 for text in lore.values())


def window_figures(*, prefilled: float = 100.0, cached: float = 0.9, p99: float = 14.0) -> dict[str, dict[str, Any]]:
    ours = {"prefilled_tokens_a_turn": prefilled, "cached_share": cached, "ttft_ms": {"p50": 10.0, "p99": p99}}
    return {OURS: ours, FRONT_END: {"prefilled_tokens_a_turn": 1000.0}}


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, [True, True, True]),
        ({"prefilled": 126.0}, [False, True, True]),
        ({"cached": 0.879}, [True, False, True]),
        ({"p99": 15.1}, [True, True, False]),
    ],
)
def test_long_chat_holds_each_target(changes: dict[str, float], met: list[bool]) -> None:
    verdicts = find_verdicts({8192: window_figures(**changes)})
    assert [kept for _, kept in verdicts] == met


def test_what_is_read_ahead_counts_as_prefilled() -> None:
    sample = TurnSample(0, 0, "", 0.0, 0.0, [0.1], prompt_tokens=100, cached_tokens=90, prewarmed_tokens=25)
    assert sum_up([sample], 1)["prefilled_tokens_a_turn"] == 35


def test_model_is_said_to_have_a_longer_context_only_where_it_must(tmp_path: Path) -> None:
    assert stretch("models/tiny", 512, tmp_path) == "models/tiny"
    longer = Path(stretch("models/tiny", 1 << 20, tmp_path))
    assert json.loads((longer / "config.json").read_text())["max_position_embeddings"] == 1 << 20
    assert (longer / "model.safetensors").resolve() == ROOT / "models" / "tiny" / "model.safetensors"
    assert json.loads((ROOT / "models" / "tiny" / "config.json").read_text())["max_position_embeddings"] < 1 << 20


def test_head_has_as_many_tokens_as_were_asked_for() -> None:
    head = build_head(RENDERER.encode, Scene(build_card(RENDERER, 1200)))
    assert 1200 <= len(RENDERER.render(head)) < 1250
