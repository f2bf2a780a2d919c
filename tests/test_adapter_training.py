"""A LoRA for one character, from its card and its dialogues, as vLLM loads it."""

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM

from characters.library import load_library
from models.adapters import build_frame, read_adapter
from models.renderer import Renderer, Turn
from models.sections import build_head
from models.synthesis.portrayal import hold_talks, portray, recognize_voice
from models.synthesis.voices import load_voices
from models.training import adapter
from models.training.rows import build_example, build_scene

CARD: dict[str, Any] = {"spec": "chara_card_v3", "data": {"name": "Odo", "description": "Odo keeps the lock at Wend."}}
REPLY = "Water, water, and the rope."
QUESTIONS = ("Who are you?", "Where do you live?", "Good evening.", "What do you fear?")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two threads for so little work wait for each other more than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "odo.json"
    path.write_text(json.dumps(CARD))
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The recipe that ships, for as little as these tests need."""
    value = yaml.safe_load(adapter.RECIPE.read_text())
    value["phases"][0] |= {"max_tokens": 4000, "epochs": 4, "batch_tokens": 1024}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def talk(question: str, **more: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": REPLY}]
    return {"messages": said, **more}


def train(card: Path, recipe: Path, *more: Path) -> int:
    output = card.parent / "adapter"
    return adapter.main([str(card), *map(str, more), "--recipe", str(recipe), "--output", str(output)])


def test_an_adapter_gives_its_character_a_voice(card: Path, recipe: Path, renderer: Renderer) -> None:
    others = talk("Who?", card={"data": {"name": "Ann"}})
    dialogues = card.parent / "dialogues.jsonl"
    rows = [talk(question) for _ in range(10) for question in QUESTIONS]
    dialogues.write_bytes(b"\n".join(map(orjson.dumps, [*rows, others])) + b"\nbroken\n")
    assert train(card, recipe, dialogues) == 0
    folder = card.parent / "adapter"
    assert {path.name for path in folder.iterdir()} == {*adapter_files(), "loss.jsonl", "loss.png"}
    frame = build_frame(json.loads(Path("models/tiny/config.json").read_bytes()), 16)
    report = read_adapter(folder, frame)
    assert report.problems == ()
    assert report.rank == 16
    assert report.base == "models/tiny"

    base = AutoModelForCausalLM.from_pretrained("models/tiny", dtype=torch.float32)
    head = build_head(renderer.encode, build_scene({**talk("x"), "card": CARD}))
    prompt = renderer.render([*head, Turn("user", renderer.encode(QUESTIONS[0]))])
    plain = say(base, prompt, renderer)
    assert say(PeftModel.from_pretrained(base, folder), prompt, renderer) == REPLY
    assert plain != REPLY


def adapter_files() -> set[str]:
    return {"adapter_config.json", "adapter_model.safetensors"}


def say(model: Any, prompt: list[int], renderer: Renderer) -> str:
    ids = torch.tensor([prompt])
    asked = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    said = model.generate(**asked, max_new_tokens=16, do_sample=False, use_cache=True)
    return renderer.decode([token for token in said[0, len(prompt) :].tolist() if token != renderer.stop_token_ids[0]])


def test_dialogues_without_the_character_stop_it(card: Path, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dialogues = card.parent / "dialogues.jsonl"
    dialogues.write_bytes(orjson.dumps(talk("Who?", card={"data": {"name": "Ann"}})))
    assert train(card, recipe, dialogues) == 2
    assert "no dialogue with Odo among its 1 lines" in capsys.readouterr().err
    assert train(card, recipe, card.parent / "nowhere.jsonl") == 2


@pytest.mark.parametrize("content", ["", "nothing", '{"data": {}}', "[]"])
def test_a_file_that_is_no_card_stops_it(
    card: Path, recipe: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    card.write_text(content)
    assert train(card, recipe) == 2
    assert "is no card" in capsys.readouterr().err


def test_a_recipe_that_merges_makes_no_adapter(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(card, Path("models/recipes/any-lora.yaml")) == 2
    assert "merge: false" in capsys.readouterr().err


def test_a_card_alone_is_taught_by_what_it_says(renderer: Renderer) -> None:
    for card in load_library().values():
        rows = list(hold_talks(card, 3, 1))
        assert rows == list(hold_talks(card, 3, 1))
        for row in rows:
            assert row["card"] == card.to_v3()
            assert build_example(renderer, row).is_reply.any()


def test_a_character_says_what_its_card_says() -> None:
    card = load_library()["lyra"]
    character = portray(card, Random(1))
    assert card.profile is not None
    assert character.values["birth_place"].card == card.profile.birth_place
    assert character.voice in load_voices()


def test_a_voice_is_known_by_its_description() -> None:
    found = 0
    for name, voice in load_voices().items():
        for line in voice.lines["describe"]:
            card = adapter_card(line)
            found += recognize_voice(card) == name
    total = sum(len(voice.lines["describe"]) for voice in load_voices().values())
    assert found / total > 0.7


def adapter_card(style: str) -> Any:
    from characters.card import build_card
    from characters.profile import Profile

    return build_card(Profile(name="Odo", speech_style=style))
