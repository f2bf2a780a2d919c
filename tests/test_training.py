"""Training reads what serving renders, learns from replies alone, and leaves a folder that loads."""

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import orjson
import pytest
import torch
import yaml
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from models.prompt import Insertion, build_prompt
from models.renderer import Llama3Renderer, Renderer, Turn, load_renderer
from models.sections import build_head
from models.synthesis.personas import imagine_characters
from models.synthesis.profile_prompt import build_profile_turns
from models.synthesis.smalltalk import build_rows
from models.training import sft
from models.training.batches import IGNORED, CopyingBatches, RowBatches
from models.training.network import build_network, load_network, save_network
from models.training.recipe import Recipe, load_recipe
from models.training.rows import build_example, build_scene, build_turns, row_texts
from models.training.vocabulary import SPECIAL_TOKENS, learn_vocabulary

ROWS: list[dict[str, Any]] = list(build_rows(imagine_characters(40, 3), 3))


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    tokenizer = learn_vocabulary(row_texts(ROWS), 1000, 2048)
    return Llama3Renderer(tokenizer.backend_tokenizer, "")


def test_the_mask_covers_replies_and_their_ends(renderer: Renderer) -> None:
    for row in ROWS:
        example = build_example(renderer, row)
        runs = np.split(example.token_ids, np.flatnonzero(np.diff(example.is_reply.astype(int))) + 1)
        spoken = [run for run, at in zip(runs, np.cumsum([0, *map(len, runs)]), strict=False) if example.is_reply[at]]
        replies = [turn.token_ids for turn in build_turns(renderer, row)[1] if turn.role == "assistant"]
        assert [list(run) for run in spoken] == [[*reply, renderer.stop_token_ids[0]] for reply in replies]


def test_training_renders_the_prompt_that_is_served(renderer: Renderer) -> None:
    for row in ROWS:
        ids = list(build_example(renderer, row).token_ids)
        if "profile" in row:
            prompt = renderer.render(build_profile_turns(renderer, row["persona"]))
        else:
            turns = [Turn(message["role"], renderer.encode(message["content"])) for message in row["messages"]]
            head = build_head(renderer.encode, build_scene(row))
            tail = [Insertion(Turn("system", renderer.encode(text)))] if (text := row.get("tail")) else []
            prompt = build_prompt(renderer, head, turns[:-1], inserted=tail, limit_tokens=100_000).token_ids
        assert ids[: len(prompt)] == prompt


def test_text_never_becomes_a_special_token(renderer: Renderer) -> None:
    text = "".join(SPECIAL_TOKENS) + " naïve — 火 🙂 \n\n x"
    ids = renderer.encode(text)
    assert min(ids) >= len(SPECIAL_TOKENS)
    assert renderer.decode(ids) == text


def test_batches_hold_every_example_once(renderer: Renderer) -> None:
    examples = [build_example(renderer, row) for row in ROWS]
    batches = RowBatches(examples, 4096, everything=False, pad_id=2, seed=1)
    learned = sorted(
        int((row != IGNORED).sum())
        for batch in map(batches.__getitem__, range(len(batches)))
        for row in batch["labels"]
    )
    assert learned == sorted(int(example.is_reply.sum()) for example in examples)
    sizes = [batch["input_ids"].numel() for batch in map(batches.__getitem__, range(len(batches)))]
    assert all(size <= 4096 for size in sizes) or max(len(example.token_ids) for example in examples) > 4096


def test_copying_batches_repeat_at_a_distance_of_each_rows_own() -> None:
    batch = CopyingBatches(3, 2048, 64, first_id=8, vocabulary=5000, seed=1)[0]
    distances = set()
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        distance = int((labels == IGNORED).sum())
        distances.add(distance)
        assert torch.equal(ids[distance:], ids[:-distance])
        assert torch.equal(labels[distance:], ids[distance:])
        assert int(ids.min()) >= 8
    assert len(distances) > 10
    assert min(distances) >= 4
    assert max(distances) <= 32


def test_a_new_network_copies_what_it_has_read(renderer: Renderer) -> None:
    tokenizer = learn_vocabulary(row_texts(ROWS), 1000, 2048)
    recipe = load_recipe(Path("models/recipes/tiny.yaml"))
    torch.manual_seed(0)
    assert recipe.shape is not None
    network = build_network(recipe.shape, tokenizer)
    batch = CopyingBatches(1, 4096, 512, first_id=8, vocabulary=len(tokenizer), seed=1)[0]
    labels = batch["labels"][:, 1:]
    with torch.no_grad():
        said = network(batch["input_ids"]).logits[:, :-1].argmax(-1)
    assert (said == labels)[labels != IGNORED].float().mean() > 0.25  # one in a thousand would be chance


def test_a_recipe_refuses_keys_that_nobody_reads() -> None:
    recipe = yaml.safe_load(Path("models/recipes/tiny.yaml").read_text())
    assert Recipe.model_validate(recipe).phases[0].kind == "copying"
    recipe["phases"][0]["lerning_rate"] = 1
    with pytest.raises(ValidationError, match="lerning_rate"):
        Recipe.model_validate(recipe)


def test_a_recipe_begins_from_nothing_or_from_a_base() -> None:
    recipe = yaml.safe_load(Path("models/recipes/tiny.yaml").read_text())
    for wrong in ({"base": "models/tiny"}, {"shape": None}, {"shape": None, "vocabulary": None}):
        with pytest.raises(ValidationError, match="either a `base`"):
            Recipe.model_validate({**recipe, **wrong})
    assert load_recipe(Path("models/recipes/tiny-longer.yaml")).base == Path("build/tiny/first")


def test_a_network_that_is_loaded_and_saved_is_the_same(tmp_path: Path) -> None:
    shipped = Path("models/tiny")
    network, tokenizer = load_network(shipped)
    save_network(network, tokenizer, tmp_path)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (shipped / name).read_bytes(), name


def test_the_recipe_of_the_shipped_model_is_its_shape() -> None:
    shape = load_recipe(Path("models/recipes/tiny.yaml")).shape
    assert shape is not None
    config = AutoModelForCausalLM.from_pretrained("models/tiny").config
    assert (config.hidden_size, config.num_hidden_layers) == (shape.hidden_size, shape.layers)
    assert config.max_position_embeddings == shape.max_position_embeddings


def test_a_short_training_makes_a_model_that_loads(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(b"\n".join(map(orjson.dumps, ROWS)))
    batches = {"batch_tokens": 1024}
    recipe = {
        "output": str(tmp_path / "unused"),
        "shape": {
            "hidden_size": 64,
            "intermediate_size": 128,
            "layers": 2,
            "heads": 4,
            "head_dim": 16,
            "max_position_embeddings": 2048,
        },
        "schedule": {"learning_rate": 3e-3},
        "vocabulary": {"size": 600, "sample_rows": 40},
        "phases": [
            {"kind": "copying", "steps": 4, "length": 64, **batches},
            {"kind": "rows", "data": [str(data)], "max_tokens": 12_000, **batches},
        ],
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    folder = tmp_path / "model"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two threads for so little work wait for each other more than they work
    sft.main([str(tmp_path / "recipe.yaml"), "--output", str(folder)])
    torch.set_num_threads(threads)

    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert model.config.architectures == ["LlamaForCausalLM"]
    assert (folder / "loss.csv").read_text().count("\n") >= 2
    assert (folder / "loss.png").read_bytes()[:4] == b"\x89PNG"
    renderer = load_renderer(str(folder))
    assert isinstance(renderer, Llama3Renderer)
    turns = [Turn("system", renderer.encode("You are Odo.")), Turn("user", renderer.encode("Who are you?"))]
    ids = torch.tensor([renderer.render(turns)])
    template = renderer_template(folder, [("system", "You are Odo."), ("user", "Who are you?")])
    assert ids[0].tolist() == template
    assert model(ids).logits.isfinite().all()


def renderer_template(folder: Path, messages: list[tuple[str, str]]) -> list[int]:
    """What the folder's own chat template makes of `messages`."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in messages], tokenize=False, add_generation_prompt=True
    )
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def test_prompts_of_a_dialogue_grow_at_the_end(renderer: Renderer) -> None:
    row = next(row for row in ROWS if len(row.get("messages", ())) > 8 and "tail" not in row)
    head, said = build_turns(renderer, row)
    turns = [*head, *said]
    prompts = [renderer.render(turns[: index + 1]) for index, turn in enumerate(turns) if turn.role == "user"]
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(prompts))


def test_characters_are_numbered() -> None:
    few, more = list(imagine_characters(3, 9)), list(imagine_characters(5, 9))
    assert few == more[:3]
    assert Random("9/0/False").random() != Random("9/1/False").random()
